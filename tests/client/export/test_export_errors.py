"""What goes wrong is one sentence, and what was there before stays."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.client.export.run_folder import names
from tsfd_client.cli import main
from tsfd_client.errors import OutputError
from tsfd_client.export import FORMATS, export, to_ome_zarr
from tsfd_client.nuclei import csv

WRITERS = {"csv": csv, "ome-zarr": to_ome_zarr}


def test_an_unknown_format_names_those_there_are(folder: Path) -> None:
    with pytest.raises(OutputError, match="'xlsx'.*" + ", ".join(FORMATS)):
        export(folder, "xlsx")


def test_a_run_that_is_not_finished_is_not_exported(folder: Path) -> None:
    (folder / "DONE").unlink()

    with pytest.raises(OutputError, match="is not finished: run `tsfd segment` again"):
        export(folder, "csv")


def test_a_missing_library_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    monkeypatch.delitem(sys.modules, "tsfd_client.export.to_ome_zarr")

    with pytest.raises(OutputError, match=r"zarr: pip install 'tsfd-client\[export\]'") as raised:
        export(folder, "ome-zarr")

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("to", WRITERS)
def test_a_full_disk_leaves_what_was_there(
    folder: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export(folder, to)
    inside = path / "zarr.json" if path.is_dir() else path
    before, there = inside.read_bytes(), names(folder)

    def fill_up(parquet: Path, partial: Path) -> None:
        if path.is_dir():
            partial.mkdir()
            partial = partial / "zarr.json"
        partial.write_text("half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(WRITERS[to], "write", fill_up)
    with pytest.raises(OutputError, match=f"{path.name} cannot be written: No space left"):
        export(folder, to)

    assert inside.read_bytes() == before
    assert names(folder) == there


@pytest.mark.parametrize("to", FORMATS)
def test_a_missing_folder_is_one_sentence(folder: Path, to: str) -> None:
    out = folder / "missing" / "nuclei.zarr"

    with pytest.raises(OutputError, match="cannot be written") as raised:
        export(folder, to, out)

    assert "\n" not in str(raised.value)
    assert not out.parent.exists()


def test_a_folder_that_is_no_zarr_is_kept(folder: Path) -> None:
    there = names(folder)

    (folder / "labels.ome.zarr").mkdir()
    (folder / "labels.ome.zarr/thesis.txt").touch()
    with pytest.raises(OutputError, match=r"has no zarr\.json"):
        export(folder, "ome-zarr")

    assert names(folder) == there | {"labels.ome.zarr"}
    assert names(folder / "labels.ome.zarr") == {"thesis.txt"}


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_replaces_the_one_before(folder: Path, to: str) -> None:
    there = names(folder)

    path = export(folder, to)
    assert export(folder, to) == path

    assert names(folder) == there | {path.name}


@pytest.mark.parametrize("to", ["csv", "ome-zarr", "site"])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "export"])
def test_what_is_there_already_is_never_replaced(folder: Path, to: str, kind: str) -> None:
    out = folder / "chosen"
    if kind == "file":
        out.write_text("thesis")
    elif kind == "folder":
        out.mkdir()
        for mark in ("zarr.json", "index.html"):
            (out / mark).write_text("of another image")
    elif kind == "link":
        out.symlink_to("nowhere")
    else:
        export(folder, to, out)
    before = out.lstat()

    with pytest.raises(OutputError) as raised:
        export(folder, to, out)

    assert str(raised.value) == f"{out} exists already: remove it, or choose another name."
    assert out.lstat() == before


def test_a_result_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for to in ("csv", "site"):
        assert main(["export", str(tmp_path / "nowhere"), f"--to={to}"]) == 1
        assert capsys.readouterr().err == f"tsfd: There is no folder {tmp_path / 'nowhere'}.\n"
