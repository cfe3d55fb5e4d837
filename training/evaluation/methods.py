"""Methods of finding nuclei in probabilities: the served one and that of TSFD-Net's authors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from instances import Instances, Parameters, extract

from training.evaluation import reference

Extract = Callable[[np.ndarray, np.ndarray, Parameters], Instances]
"""``class_probs``, ``boundary_prob`` and thresholds of one image -> its nuclei."""

METHODS: Final[dict[str, Extract]] = {
    "watershed": partial(extract, with_contours=False),
    "reference": reference.extract,
}

SERVED: Final = "watershed"
"""The only method that servers offer."""
