"""The table of slides: as spreadsheets save it, and what is refused in it."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from samples.synthetic import generate
from serving.server import TritonServer
from tsfd_client.cli import main
from tsfd_client.cli.table import Row, read_table
from tsfd_client.slides.options import RunOptions
from tsfd_client.slides.status import statuses

PLAIN = "slide,mpp,tissue,tissue_class,name\na.svs,0.25,a.geojson,Tumor,first\nb.svs,,,,\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "slides.csv"


def read(table: Path, content: str | bytes, **common: object) -> list[Row]:
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(table, RunOptions(**common), None)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", ";").replace("0.25", "0,25"),
        PLAIN.replace(",", "\t").replace("0.25", "0,25"),
        PLAIN.replace("0.25", '"0,25"'),
        PLAIN.replace("slide,mpp", " Slide , MPP ").replace("tissue_class", "Tissue Class"),
        PLAIN.replace("tissue_class", "TISSUE-CLASS").replace("a.svs", '"a.svs"'),
        '"slide";"mpp";"tissue";"tissue class";"name"\n"a.svs";"0,25";"a.geojson";"Tumor";"first"\n'
        '"b.svs";"";"";"";""\n',
        "\n\n" + PLAIN.replace("\nb", "\n\n,,,,\n  , ,,,\nb"),
        PLAIN.replace("slide", "stain,slide").replace("\na", "\nH&E,a").replace("\nb", "\n,b"),
        PLAIN + "a.svs,0.250,a.geojson,Tumor,first\n",
        PLAIN + "./b.svs\n",
        PLAIN.replace("a.svs", "a.svs  ,")
        .replace("slide", "slide,stain")
        .replace("b.svs", "b.svs,"),
        "sep=;\r\n" + PLAIN.replace(",", ";"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        b"\xfe\xff" + PLAIN.replace(",", "\t").encode("utf-16-be"),
    ],
)
def test_tables_of_all_spreadsheets(table: Path, content: str | bytes) -> None:
    outlined = {"tissue": table.parent / "a.geojson", "tissue_class": "Tumor"}
    assert read(table, content) == [
        Row(table.parent / "a.svs", RunOptions(mpp=0.25, **outlined), "first"),
        Row(table.parent / "b.svs", RunOptions(), None),
    ]


def test_columns_that_are_not_used_are_named(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or a misspelt scale would be passed over without a word."""
    (row,) = read(table, "slide,mmp,Stain\na.svs,0.5,H&E\n")

    assert row.options.mpp is None
    assert capsys.readouterr().err == f"tsfd: {table}: not used: mmp, stain.\n"


def test_what_a_row_leaves_empty_is_as_on_the_command_line(table: Path) -> None:
    content = "slide,mpp,tissue\na.svs,,\nb.svs,0.5,b.geojson\n"
    a, b = read(table, content, mpp=0.25, everywhere=True)
    assert a.options == RunOptions(mpp=0.25, everywhere=True)
    assert b.options == RunOptions(mpp=0.5, tissue=table.parent / "b.geojson")


def test_paths_written_on_windows(table: Path) -> None:
    (table.parent / "odd\\name.svs").touch()
    content = "slide,tissue\ncase 1\\a.svs,case 1\\a.geojson\nodd\\name.svs,\n"
    (a, odd) = read(table, content)
    assert a.path == table.parent / "case 1/a.svs"
    assert a.options.tissue == table.parent / "case 1/a.geojson"
    assert odd.path == table.parent / "odd\\name.svs"  # a file of that very name is here


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", " is empty."),
        ("\ufeff", " is empty."),
        ("\n ,,\n", " is empty."),
        ("slide,mpp\n", " lists no slide: it has no rows below its header."),
        ("slide,mpp\n,\n", " lists no slide: it has no rows below its header."),
        ("path,MPP\na.svs,0.5\n", " needs a column 'slide'; it has path, mpp."),
        ("path;mpp\na.svs;0.5\n", " needs a column 'slide'; it has path, mpp."),
        (
            "slide,mpp,MPP\na.svs,1,2\n",
            " has more than one column 'mpp': remove all but one.",
        ),
        ("slide,mpp\n\na.svs,fine\n", ", line 3: mpp is 'fine', not a number."),
        ("slide,mpp\na.svs,0.25 um\n", ", line 2: mpp is '0.25 um', not a number."),
        (
            "slide,mpp\na.svs,1.000,5\n",
            ", line 2 has 3 cells, the header 2: put cells that contain ',' in quotes.",
        ),
        ("slide,mpp\na.svs,nan\n", ", line 2: mpp must be micrometres per pixel between "),
        ("slide,mpp\na.svs,0\n", ", line 2: mpp must be micrometres per pixel between "),
        ("slide,mpp\na.svs,\n,0.5\n", ", line 3: the column 'slide' is empty."),
        (
            "slide\nC:\\scans\\a.svs\n",
            ", line 2: C:\\scans\\a.svs is a Windows path: give the file's path on this machine.",
        ),
        (
            "slide\nD:/a.svs\n",
            ", line 2: D:/a.svs is a Windows path: give the file's path on this machine.",
        ),
        (
            "slide\n\\\\nas\\scans\\a.svs\n",
            ", line 2: \\\\nas\\scans\\a.svs is a Windows path: "
            "give the file's path on this machine.",
        ),
        (
            "slide,mpp\na.svs,0.25\nb.svs,\n./a.svs,0.5\n",
            " has different values for ./a.svs in lines 2 and 4: remove one of them.",
        ),
        (
            "slide,name\na.svs,x\na.svs,y\n",
            " has different values for a.svs in lines 2 and 3: remove one of them.",
        ),
        (
            "slide,tissue_class\na.svs,Tumor\n",
            ", line 2: The class 'Tumor' needs an outline that has it: name the GeoJSON file "
            "with --tissue (in Python tissue=).",
        ),
        (
            "slide,name\na.svs,x/y\n",
            ", line 2: the name 'x/y' cannot be used for a folder in --out.",
        ),
        ("slide,name\na.svs,..\n", ", line 2: the name '..' cannot be used for a folder in --out."),
        ('slide,mpp\n"a.svs,0.25\n', ", line 2 is not CSV: unexpected end of data."),
        (
            "slide\nMüller.svs\n".encode("cp1252"),
            " is not a table in UTF-8: save it as 'CSV UTF-8'.",
        ),
        ("slide\na.svs\n".encode("utf-16-le"), " is not a table in UTF-8: save it as 'CSV UTF-8'."),
        (b"PK\x03\x04\x14\x00\xff", " is not a table in UTF-8: save it as 'CSV UTF-8'."),
    ],
)
def test_a_table_that_cannot_be_used(
    table: Path, capsys: pytest.CaptureFixture[str], content: str | bytes, says: str
) -> None:
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["segment", f"--slides={table}", f"--out={table.parent}"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"tsfd: {table}{says}")


def test_a_table_that_is_not_there(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", f"--slides={table}", f"--out={table.parent}"]) == 1
    assert capsys.readouterr().err == f"tsfd: {table} cannot be read: No such file or directory.\n"


def test_slides_of_one_name_are_told_apart(
    server: TritonServer, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, case in enumerate(("A", "B")):
        path = table.parent / f"case{case}" / "1.png"
        path.parent.mkdir()
        cv2.imwrite(str(path), generate(300, 300, nuclei=40, seed=seed).image[..., ::-1])
    out = table.parent / "out"
    command = ["segment", f"--slides={table}", "--mpp=0.25", f"--out={out}"]
    command += [f"--server={server.grpc_url}"]
    table.write_text("slide\ncaseA/1.png\ncaseB/1.png\n")
    assert main(command) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {table.parent}/caseA/1.png and {table.parent}/caseB/1.png would both be written to "
        f"{out}/1: rename one, segment them into different folders, or give them names in the "
        "table of --slides.\n"
    )
    assert not out.exists()

    table.write_text("slide,name\ncaseA/1.png,A\ncaseB/1.png,B\n")
    assert main(command) == 0
    assert [(status.slide, status.state) for status in statuses(out)] == [
        ("A", "done"),
        ("B", "done"),
    ]

    table.write_text("slide,name\ncaseA/1.png,A\ncaseB/1.png,A\n")
    assert main(command) == 1
    assert "would both be written to" in capsys.readouterr().err
