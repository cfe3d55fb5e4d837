"""What the server promises: names, sizes and order of classes and tissues."""

from __future__ import annotations

from typing import Final

MODEL: Final = "nuclei_segmentation"
VERSION: Final = "1"
"""Version of the model, which is that of this contract; within one, outputs are only added."""
TILE: Final = 256
"""Side of a tile in pixels."""
MPP: Final = 0.25
"""Scale of a tile, micrometres per pixel."""
MAX_BATCH: Final = 32
OUTPUTS: Final = (
    "instance_map",
    "nuclei",
    "nuclei_count",
    "contours",
    "tissue_probs",
    "class_probs",
    "boundary_prob",
    "release",
)
CLASSES: Final = (
    "background",
    "neoplastic",
    "inflammatory",
    "connective",
    "dead",
    "epithelial",
)
"""Class names by class id."""
COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "neoplastic": (230, 50, 30),
    "inflammatory": (0, 114, 255),
    "connective": (245, 225, 40),
    "dead": (20, 20, 20),
    "epithelial": (0, 190, 120),
}
"""RGB of each class in overlays and in QuPath; told apart with the common colour blindnesses."""
TISSUES: Final = (
    "Adrenal_gland",
    "Bile-duct",
    "Bladder",
    "Breast",
    "Cervix",
    "Colon",
    "Esophagus",
    "HeadNeck",
    "Kidney",
    "Liver",
    "Lung",
    "Ovarian",
    "Pancreatic",
    "Prostate",
    "Skin",
    "Stomach",
    "Testis",
    "Thyroid",
    "Uterus",
)
"""Tissue names in the order of ``tissue_probs``."""

USE: Final = "research use, not for diagnosis"
"""What every summary says of itself."""

# Columns of the ``nuclei`` table.
X_MIN, Y_MIN, X_MAX, Y_MAX, AREA, CLASS, CLASS_PROB = 2, 3, 4, 5, 6, 7, 8
