"""Names of the nucleus classes and tissues, in the order of the network's outputs."""

CLASSES: tuple[str, ...] = (
    "background",
    "neoplastic",
    "inflammatory",
    "connective",
    "dead",
    "epithelial",
)
"""Channel names of ``class_probs``; the index is the class id, in PanNuke's order."""

TISSUES: tuple[str, ...] = (
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
"""Names of ``tissue_probs``' columns: the 19 tissues of PanNuke."""
