"""The contract that every server keeps: names and sizes of tensors, and tissues.

Scale, classes and thresholds depend on the release that is served: `tsfd_client.release`.
"""

from __future__ import annotations

from typing import Final

MODEL: Final = "nuclei_segmentation"
FEATURES: Final = "nuclei_features"
"""The model that gives features of nuclei, from which classes of one's own are learned."""
VERSION: Final = "1"
"""Version of the model and of this contract; within a version, outputs are only added."""
TILE: Final = 256
"""Side of a tile in pixels."""
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
"""Statement of use in every summary."""

# Columns of the ``nuclei`` table.
X_MIN, Y_MIN, X_MAX, Y_MAX, AREA, CLASS, CLASS_PROB = 2, 3, 4, 5, 6, 7, 8
