"""Whether two forms of the network say the same: probabilities and final instances.

Every form sees the same tiles: stained tissue (scikit-image's immunohistochemistry picture), a
synthetic H&E field, and white and black blanks.
"""

from __future__ import annotations

from dataclasses import dataclass

import instances
import numpy as np
from skimage import data

from conversion.contract import OUTPUTS, TILE
from conversion.runtimes import Outputs, Runner
from samples.synthetic import generate

_AT_A_TIME = 2  # tiles, to stay small in memory


@dataclass(frozen=True)
class Tolerance:
    """Largest differences of probabilities (0..1) and smallest agreement of instances allowed."""

    max_difference: float
    mean_difference: float
    panoptic_quality: float


# One level of uint8 is 0.004. The stain channels are floored to whole levels, so a difference in
# the last bit of a logarithm can move an input by 1/255, which single pixels then show.
FLOAT32 = Tolerance(max_difference=0.05, mean_difference=0.001, panoptic_quality=0.98)
# OpenVINO, too, computes in 16 bits where the processor is faster at it.
HALF = Tolerance(max_difference=0.20, mean_difference=0.005, panoptic_quality=0.90)
# A broken graph is told from a coarse one; what INT8 costs, only annotated images tell.
INT8 = Tolerance(max_difference=1.0, mean_difference=0.1, panoptic_quality=0.70)


@dataclass(frozen=True)
class Parity:
    """How one form of the network differs from the SavedModel.

    Attributes
    ----------
    form
        Name of the form.
    max_difference, mean_difference
        Of each output's probabilities, 0..1.
    nuclei, nuclei_reference
        Instances found over all tiles.
    panoptic_quality
        Between the two sets of instances over all tiles; 1 where neither has any.
    failures
        Sentences; empty if within tolerance.
    """

    form: str
    max_difference: dict[str, float]
    mean_difference: dict[str, float]
    nuclei: int
    nuclei_reference: int
    panoptic_quality: float
    failures: tuple[str, ...]

    def line(self) -> str:
        """One line for the screen."""
        worst, mean = max(self.max_difference.values()), max(self.mean_difference.values())
        return (
            f"{self.form}: probabilities differ by at most {worst:.4f} (mean {mean:.5f}), "
            f"{self.nuclei} nuclei against {self.nuclei_reference}, "
            f"PQ {self.panoptic_quality:.4f}: {'FAILED' if self.failures else 'ok'}"
        )


def tiles() -> np.ndarray:
    """uint8 [10, 256, 256, 3]: four of tissue, four synthetic, a white one and a black one."""
    tissue = data.immunohistochemistry()
    field = generate(2 * TILE, 2 * TILE, nuclei=90, seed=11).image
    blanks = [np.full((TILE, TILE, 3), value, np.uint8) for value in (255, 0)]
    return np.stack([*_quarters(tissue), *_quarters(field), *blanks])


def outputs(run: Runner, images: np.ndarray) -> Outputs:
    """Run a form of the network over `images`, a few at a time."""
    parts = [run(images[i : i + _AT_A_TIME]) for i in range(0, len(images), _AT_A_TIME)]
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}


def compare(form: str, reference: Outputs, found: Outputs, tolerance: Tolerance) -> Parity:
    """Compare outputs with the SavedModel's.

    Parameters
    ----------
    form
        Name of what is compared.
    reference, found
        As `outputs` returns them.
    tolerance
        What is allowed.
    """
    differences = {name: _difference(reference[name], found[name]) for name in OUTPUTS}
    largest = {name: float(np.max(values)) for name, values in differences.items()}
    mean = {name: float(np.mean(values)) for name, values in differences.items()}
    ours, theirs = _instance_maps(found), _instance_maps(reference)
    count, count_reference = (sum(int(m.max()) for m in maps) for maps in (ours, theirs))
    quality = _panoptic_quality(theirs, ours)

    failures = []
    for name in OUTPUTS:
        # Written so that NaN fails.
        if not largest[name] <= tolerance.max_difference:
            failures.append(
                f"{name} differs by up to {largest[name]:.4f} (allowed {tolerance.max_difference})"
            )
        if not mean[name] <= tolerance.mean_difference:
            failures.append(
                f"{name} differs by {mean[name]:.5f} on average "
                f"(allowed {tolerance.mean_difference})"
            )
    if quality < tolerance.panoptic_quality:
        failures.append(
            f"instances agree to PQ {quality:.4f} (at least {tolerance.panoptic_quality} is needed)"
        )
    return Parity(form, largest, mean, count, count_reference, quality, tuple(failures))


def _quarters(image: np.ndarray) -> list[np.ndarray]:
    return [image[y : y + TILE, x : x + TILE] for y in (0, TILE) for x in (0, TILE)]


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    scale = 255.0 if a.dtype == np.uint8 else 1.0
    return np.abs(a.astype(np.float64) - b.astype(np.float64)) / scale


def _instance_maps(found: Outputs) -> list[np.ndarray]:
    pairs = zip(found["class_probs"], found["boundary_prob"], strict=True)
    return [instances.extract(c, b, with_contours=False).instance_map for c, b in pairs]


def _panoptic_quality(reference: list[np.ndarray], found: list[np.ndarray]) -> float:
    """PQ over all tiles; a pair with IoU over 0.5 is a match, and can only be one."""
    matched, overlap, total = 0, 0.0, 0
    for a, b in zip(reference, found, strict=True):
        total += int(a.max()) + int(b.max())
        table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
        np.add.at(table, (a.ravel(), b.ravel()), 1)
        union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
        iou = (table / np.maximum(union, 1))[1:, 1:]
        matched += int(np.count_nonzero(iou > 0.5))
        overlap += float(iou[iou > 0.5].sum())
    return 1.0 if total == 0 else 2 * overlap / total
