"""What was measured of the nuclei, as AnnData."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from tsfd_client.contract import CLASSES
from tsfd_client.slides.table import count, read_batches

_NUMBERS = {
    "id": np.int64,
    "class_prob": np.float32,
    "area_um2": np.float32,
    "centroid_x": np.float64,
    "centroid_y": np.float64,
}
_MEASURED = ["area_um2", "class_prob"]


def annotated(parquet: Path) -> AnnData:
    """Columns of a ``nuclei.parquet``; outlines are not read.

    Returns
    -------
    AnnData
        n x 2: ``X`` area in square micrometres and class probability, float32; ``obs`` id, class,
        class_prob, area_um2, named by the id; ``obsm["spatial"]`` centroids x, y in pixels of level
        0, float64 [n, 2].
    """
    length = count(parquet)
    numbers = {name: np.empty(length, kind) for name, kind in _NUMBERS.items()}
    codes = np.empty(length, np.int8)
    code_of = {name: code for code, name in enumerate(CLASSES[1:])}
    done = 0
    for batch in read_batches(parquet, [*_NUMBERS, "class"]):
        rows = slice(done, done + len(batch))
        for name, values in numbers.items():
            values[rows] = batch[name].to_numpy()
        classes = batch["class"].combine_chunks().dictionary_encode()
        known = [code_of[name] for name in classes.dictionary.to_pylist()]
        codes[rows] = np.array(known, np.int8)[classes.indices.to_numpy()]
        done = rows.stop

    obs = pd.DataFrame(
        {
            "id": numbers["id"],
            "class": pd.Categorical.from_codes(codes, names(CLASSES[1:])),
            "class_prob": numbers["class_prob"],
            "area_um2": numbers["area_um2"],
        },
        index=names(map(str, numbers["id"].tolist())),
    )
    return AnnData(
        np.stack([numbers[name] for name in _MEASURED], axis=1),
        obs=obs,
        var=pd.DataFrame(index=names(_MEASURED)),
        obsm={"spatial": np.stack([numbers["centroid_x"], numbers["centroid_y"]], axis=1)},
    )


def names(texts: Iterable[str]) -> pd.Index:
    """Texts as Python's own: AnnData 0.12 writes none of pandas 3."""
    return pd.Index(list(texts), dtype=object)
