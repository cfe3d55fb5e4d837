"""What may be said on the command line and in a file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsfd_client.cli import main, options

SEGMENT = ["segment", "a.svs"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(
        "\n".join(
            [
                'out = "results"',
                'server = "gpu:8001"',
                'header = ["authorization: Bearer x", "team:y"]',
                "batch = 16",
                "in-flight = 8",
                "wait = 900",
                "mpp = 0.5",
                "no-tissue = true",
                "min-area = 30",
            ]
        )
    )
    return path


def test_a_file_says_what_the_command_line_does_not(config: Path) -> None:
    found = options.parse([*SEGMENT, f"--config={config}", "--batch=2"])
    assert found.out == Path("results")
    assert (found.batch, found.in_flight, found.wait, found.mpp) == (2, 8, 900.0, 0.5)
    assert found.no_tissue
    assert found.min_area == 30
    server = options.connection(found)
    assert server["url"] == "gpu:8001"
    assert server["headers"] == {"authorization": "Bearer x", "team": "y"}
    assert (server["batch_size"], server["timeout"]) == (2, 60.0)


def test_a_file_as_windows_saves_it(config: Path) -> None:
    config.write_bytes(config.read_text().replace("\n", "\r\n").encode("utf-8-sig"))

    assert options.parse([*SEGMENT, f"--config={config}"]).batch == 16


def test_the_command_line_overrules_what_excludes_it(config: Path, tmp_path: Path) -> None:
    found = options.parse([*SEGMENT, f"--config={config}", "--tissue=outline.geojson"])
    assert (found.tissue, found.no_tissue) == (Path("outline.geojson"), False)
    outlined = tmp_path / "outlined.toml"
    outlined.write_text('out = "results"\ntissue = "outline.geojson"\ntissue-class = "Tumor"')
    found = options.parse([*SEGMENT, f"--config={outlined}", "--no-tissue"])
    assert (found.tissue, found.tissue_class, found.no_tissue) == (None, None, True)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('tissue = "a"\nno-tissue = true', " has both tissue and no-tissue: remove one."),
        ('method = "watershed"', "has the unknown option 'method'; known are batch, "),
        ("bath = 4", "has the unknown option 'bath'; known are batch, boundary-threshold, "),
        ("batch = 64", ": batch cannot be 64."),
        ("timeout = 0", ": timeout cannot be 0."),
        ("wait = -1", ": wait cannot be -1."),
        ("batch = [4]", ": batch cannot be [4]."),
        ("no-tissue = 1", ": no-tissue must be true or false, not 1."),
        ('transport = "udp"', ": transport must be one of auto, grpc, shm, not 'udp'."),
        ("batch: 4", " is not TOML: "),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(line)
    assert main([*SEGMENT, f"--config={path}"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"tsfd: {path}")
    assert says in error


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.toml"
    assert main([*SEGMENT, f"--config={path}"]) == 1
    assert capsys.readouterr().err == f"tsfd: {path} cannot be read: No such file or directory.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (SEGMENT, "the following arguments are required: --out"),
        (["segment", "--out=r"], "give images, or a table of slides with --slides"),
        (["segment", "", "--out=r"], "argument IMAGE: an empty name is no image"),
        ([*SEGMENT, "--out=r", "--shard=3/2"], "must be I/N with 1 <= I <= N, not '3/2'"),
        ([*SEGMENT, "--out=r", "--batch=33"], "at most 32 tiles, not 33"),
        ([*SEGMENT, "--out=r", "--in-flight=0"], "must be a whole number of at least 1, not '0'"),
        *(
            ([*SEGMENT, "--out=r", "--timeout", text], f"seconds above 0, not {text!r}")
            for text in ("0", "-1", "nan", "inf", "long")
        ),
        *(
            ([*SEGMENT, "--out=r", "--wait", text], f"seconds of at least 0, not {text!r}")
            for text in ("-1", "nan", "inf", "long")
        ),
        ([*SEGMENT, "--out=r", "--header=token"], "must be NAME:VALUE, not 'token'"),
        ([*SEGMENT, "--out=r", "--tissue=t", "--no-tissue"], "not allowed with argument --tissue"),
    ],
)
def test_a_command_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(words)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: There is no run in {tmp_path}: give the --out folder of `tsfd segment`.\n"
    )
