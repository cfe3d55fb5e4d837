"""Measurements of the nuclei as AnnData."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from tsfd_client.classes.kept_features import FOLDER, KeptFeatures
from tsfd_client.nuclei.measures import columns_beside, read_batches_with
from tsfd_client.nuclei.region_counts import membership
from tsfd_client.nuclei.regions import drawn_on_page
from tsfd_client.nuclei.table import count, read_info

_MEASURED = ["area_um2", "class_prob"]
_CENTROID = ["centroid_x", "centroid_y"]
_AT_A_TIME = 100_000  # names written at a time if the data set has no chunks


def annotated(parquet: Path) -> anndata.AnnData:
    """Read a ``nuclei.parquet`` without outlines, and what was measured of its nuclei.

    Returns
    -------
    AnnData
        n x 2 or more: ``X`` area in square micrometres, class probability and, if there are any,
        the columns of `tsfd_client.nuclei.measures`, float32; ``obs`` id, class,
        class_prob, area_um2, with rows not yet named; ``obsm["spatial"]`` centroids x, y in pixels
        of level 0, float64 [n, 2]; if features are kept, ``obsm["X_tsfd"]``, float32 [n, D]; if
        there are regions of the page, ``obsm["regions"]``, in which of them the nucleus is, bool
        [n, R], and ``uns["regions"]``, their names.

    Raises
    ------
    OutputError
        If a file is damaged.
    """
    length = count(parquet)
    columns = [*_MEASURED, *columns_beside(parquet)]
    measured = np.empty((length, len(columns)), np.float32)
    spatial = np.empty((length, 2), np.float64)
    ids = np.empty(length, np.int64)
    codes = np.empty(length, np.int8)
    kinds = read_info(parquet).release.class_names[1:]
    code_of = {name: code for code, name in enumerate(kinds)}
    done = 0
    for batch in read_batches_with(parquet, ["id", "class", *_MEASURED, *_CENTROID]):
        rows = slice(done, done + len(batch))
        for array, wanted in ((measured, columns), (spatial, _CENTROID)):
            for column, name in enumerate(wanted):
                array[rows, column] = batch[name].to_numpy()
        ids[rows] = batch["id"].to_numpy()
        classes = batch["class"].combine_chunks().dictionary_encode()
        known = [code_of[name] for name in classes.dictionary.to_pylist()]
        codes[rows] = np.array(known, np.int8)[classes.indices.to_numpy()]
        done = rows.stop

    obs = pd.DataFrame(
        {
            "id": ids,
            "class": pd.Categorical.from_codes(codes, names(kinds)),
            "class_prob": measured[:, 1],
            "area_um2": measured[:, 0],
        },
        index=pd.Index(np.full(length, "", object), dtype=object),
    )
    var = pd.DataFrame(index=names(columns))
    obsm, uns = {"spatial": spatial} | _features(parquet, length), {}
    if regions := drawn_on_page(parquet.parent):
        # A matrix, as regions may overlap; no columns with names, as those may have slashes.
        obsm["regions"] = membership(parquet, regions)
        uns["regions"] = np.array([region.name for region in regions], object)
    # Suppress the warning that rows have no unique names yet.
    with anndata.settings.override(check_uniqueness=False):
        return anndata.AnnData(measured, obs=obs, var=var, obsm=obsm, uns=uns)


def _features(parquet: Path, length: int) -> dict[str, np.ndarray]:
    kept = KeptFeatures(parquet.with_name(FOLDER))
    if not kept.is_complete:
        return {}
    # Most tools do not compute in the 16 bits that are kept.
    features = np.empty((length, kept.width), np.float32)
    for ids, some in kept.read(length):
        features[ids - 1] = some
    return {"X_tsfd": features}


def name_rows(obs: Any, ids: np.ndarray) -> None:
    """Name the rows of a written table by their ids, a chunk at a time.

    All at once, five million names as Python strings would take a third of a gigabyte.

    Parameters
    ----------
    obs
        Group ``obs`` of an HDF5 file or a Zarr folder.
    ids
        int64 [n].
    """
    index = obs[obs.attrs["_index"]]
    step = index.chunks[0] if index.chunks else _AT_A_TIME
    for start in range(0, len(ids), step):
        part = ids[start : start + step].tolist()
        index[start : start + step] = np.array([str(number) for number in part], object)


def names(texts: Iterable[str]) -> pd.Index:
    """Index of Python strings; AnnData 0.12 cannot write the strings of pandas 3."""
    return pd.Index(list(texts), dtype=object)
