"""What goes wrong is one sentence, and what was there before stays."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.client.export.run_folder import names
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

    with pytest.raises(OutputError, match=r"has no zarr\.json"):
        export(folder, "ome-zarr", folder)

    assert names(folder) == there


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_replaces_the_one_before(folder: Path, to: str) -> None:
    there = names(folder)
    out = folder / "chosen"

    assert export(folder, to, out) == export(folder, to, out) == out

    assert names(folder) == there | {"chosen"}
