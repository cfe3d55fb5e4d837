"""Nuclei as AnnData: an ``.h5ad`` file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import h5py

from tsfd_client.export.annotated import annotated, name_rows
from tsfd_client.nuclei.table import read_info


def write(parquet: Path, path: Path) -> None:
    """Write the table of `annotated`; ``uns["tsfd"]`` describes the slide, as JSON."""
    table = annotated(parquet)
    table.uns["tsfd"] = json.dumps(asdict(read_info(parquet)), ensure_ascii=False)
    table.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        name_rows(file["obs"], table.obs["id"].to_numpy())
