"""Published scores on data that can be evaluated here.

Keys of the scores are those of `Scores.overall`. Sources: TSFD-Net and its comparison on PanNuke
from Ilyas et al., Neural Networks 2022; Hover-Net on Kumar and CoNSeP from Graham et al., Medical
Image Analysis 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Scores of systems under one protocol.

    Attributes
    ----------
    protocol
        Data and split, for a table's title.
    images
        Number of images scored, where it identifies the split; else None.
    columns
        Keys of the scores.
    systems
        Name of the system -> its scores.
    """

    protocol: str
    images: int | None
    columns: tuple[str, ...]
    systems: Mapping[str, tuple[float, ...]]


PANNUKE = Published(
    protocol="PanNuke, mean over 19 tissues; published figures over all folds",
    images=None,
    columns=("mpq", "bpq"),
    systems={
        "Hover-Net": (0.4629, 0.6596),
        "StarDist": (0.4744, 0.6692),
        "CPP-Net": (0.4817, 0.6767),
        "TSFD-Net": (0.5040, 0.6377),
    },
)

TSFD_NET_CLASSES: dict[str, float] = {
    "neoplastic": 0.5724,
    "inflammatory": 0.4532,
    "connective": 0.4228,
    "dead": 0.2135,
    "epithelial": 0.5663,
}
"""PQ of TSFD-Net on PanNuke per class."""

TSFD_NET_TISSUES: dict[str, tuple[float, float]] = {
    "Adrenal_gland": (0.5223, 0.6900),
    "Bile-duct": (0.5000, 0.6284),
    "Bladder": (0.5738, 0.6773),
    "Breast": (0.5106, 0.6245),
    "Cervix": (0.5204, 0.6561),
    "Colon": (0.4382, 0.5370),
    "Esophagus": (0.5438, 0.6306),
    "HeadNeck": (0.4937, 0.6277),
    "Kidney": (0.5517, 0.6824),
    "Liver": (0.5079, 0.6675),
    "Lung": (0.4274, 0.5941),
    "Ovarian": (0.5253, 0.6431),
    "Pancreatic": (0.4893, 0.6241),
    "Prostate": (0.5431, 0.6406),
    "Skin": (0.4354, 0.6074),
    "Stomach": (0.4871, 0.6529),
    "Testis": (0.4843, 0.6435),
    "Thyroid": (0.5154, 0.6692),
    "Uterus": (0.5068, 0.6204),
}
"""mPQ and bPQ of TSFD-Net on PanNuke per tissue."""

_INSTANCES = ("dice", "aji", "dq", "sq", "pq")

KUMAR = Published(
    protocol="Kumar, 16/14 split, 14 test images",
    images=14,
    columns=_INSTANCES,
    systems={"Hover-Net": (0.826, 0.618, 0.770, 0.773, 0.597)},
)

CONSEP = Published(
    protocol="CoNSeP, 27/14 split, 14 test images",
    images=14,
    columns=_INSTANCES,
    systems={"Hover-Net": (0.853, 0.571, 0.702, 0.778, 0.547)},
)

_BY_SET = {("kumar", "test"): KUMAR, ("consep", "test"): CONSEP}


def published_for(source: str, split: str, images: int) -> Published | None:
    """Find published scores to compare a set's scores with; None if the split is not the same."""
    published = _BY_SET.get((source.lower(), split))
    return published if published is not None and published.images == images else None
