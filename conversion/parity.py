"""Whether two forms of the network say the same: probabilities and final instances.

Every form sees the same tiles: stained tissue (scikit-image's immunohistochemistry picture), a
synthetic H&E field, and white and black blanks.
"""

from __future__ import annotations

from dataclasses import dataclass

import instances
import numpy as np

from conversion.contract import OUTPUTS, TILE
from conversion.runtimes import Outputs
from training.evaluation.panoptic_quality import panoptic_quality


@dataclass(frozen=True)
class Tolerance:
    """What is allowed between a form of the network and the SavedModel.

    Attributes
    ----------
    percentile, difference
        Of the pixels' differences of probability (0..1), this percentile may be this large. Where
        arithmetic is coarser than float32 the single worst pixel is reported, not judged.
    tissue_difference
        Largest difference of a tissue's probability.
    mean_difference
        Of each output.
    panoptic_quality
        Smallest agreement of instances.
    """

    percentile: float
    difference: float
    tissue_difference: float
    mean_difference: float
    panoptic_quality: float


# One level of uint8 is 0.004. The stain channels are floored to whole levels, so a difference in
# the last bit of a logarithm can move an input by 1/255, which single pixels then show.
FLOAT32 = Tolerance(100, 0.05, tissue_difference=0.05, mean_difference=0.001, panoptic_quality=0.98)
# OpenVINO, too, computes in 16 bits where the processor is faster at it.
HALF = Tolerance(99.9, 0.15, tissue_difference=0.20, mean_difference=0.005, panoptic_quality=0.90)
# A broken graph is told from a coarse one; what INT8 costs, only annotated images tell.
INT8 = Tolerance(99.9, 0.35, tissue_difference=1.0, mean_difference=0.1, panoptic_quality=0.70)


@dataclass(frozen=True)
class Parity:
    """How one form of the network differs from the SavedModel.

    Attributes
    ----------
    form
        Name of the form.
    max_difference, percentile_difference, mean_difference
        Of each output's probabilities, 0..1; the second at the tolerance's percentile.
    nuclei, nuclei_reference
        Instances found over all tiles.
    panoptic_quality
        Between the two sets of instances over all tiles; 1 where neither has any.
    failures
        Sentences; empty if within tolerance.
    """

    form: str
    max_difference: dict[str, float]
    percentile_difference: dict[str, float]
    mean_difference: dict[str, float]
    nuclei: int
    nuclei_reference: int
    panoptic_quality: float
    failures: tuple[str, ...]

    def line(self) -> str:
        """One line for the screen."""
        worst, mean = max(self.max_difference.values()), max(self.mean_difference.values())
        return (
            f"{self.form}: probabilities differ by {mean:.5f} on average, by {worst:.4f} at most, "
            f"{self.nuclei} nuclei against {self.nuclei_reference}, "
            f"PQ {self.panoptic_quality:.4f}: {'FAILED' if self.failures else 'ok'}"
        )


def tiles() -> np.ndarray:
    """uint8 [10, 256, 256, 3]: four of tissue, four synthetic, a white one and a black one."""
    # A serving container has neither, and takes the tiles from a file.
    from skimage import data

    from samples.synthetic import generate

    tissue = data.immunohistochemistry()
    field = generate(2 * TILE, 2 * TILE, nuclei=90, seed=11).image
    blanks = [np.full((TILE, TILE, 3), value, np.uint8) for value in (255, 0)]
    return np.stack([*_quarters(tissue), *_quarters(field), *blanks])


def compare(form: str, reference: Outputs, found: Outputs, tolerance: Tolerance) -> Parity:
    """Compare outputs with the SavedModel's.

    Parameters
    ----------
    form
        Name of what is compared.
    reference, found
        As `conversion.runtimes.infer` returns them.
    tolerance
        What is allowed.
    """
    differences = {name: _difference(reference[name], found[name]) for name in OUTPUTS}
    largest = {name: float(np.max(values)) for name, values in differences.items()}
    high = {
        name: float(np.percentile(values, tolerance.percentile))
        for name, values in differences.items()
    }
    mean = {name: float(np.mean(values)) for name, values in differences.items()}
    ours, theirs = _instance_map(found), _instance_map(reference)
    quality = panoptic_quality(theirs, ours)
    agreement = 1.0 if np.isnan(quality.pq) else quality.pq  # neither has any

    failures = []
    for name in OUTPUTS:
        if name == "tissue_probs":
            found_most, allowed, where = largest[name], tolerance.tissue_difference, "at most"
        else:
            found_most, allowed = high[name], tolerance.difference
            where = f"at the {tolerance.percentile:g}th percentile of the pixels"
        # Written so that NaN fails.
        if not found_most <= allowed:
            failures.append(f"{name} differs by {found_most:.4f} {where} (allowed {allowed})")
        if not mean[name] <= tolerance.mean_difference:
            failures.append(
                f"{name} differs by {mean[name]:.5f} on average "
                f"(allowed {tolerance.mean_difference})"
            )
    if agreement < tolerance.panoptic_quality:
        failures.append(
            f"instances agree to PQ {agreement:.4f} (at least {tolerance.panoptic_quality} is "
            "needed)"
        )
    return Parity(
        form,
        max_difference=largest,
        percentile_difference=high,
        mean_difference=mean,
        nuclei=quality.tp + quality.fp,
        nuclei_reference=quality.tp + quality.fn,
        panoptic_quality=agreement,
        failures=tuple(failures),
    )


def _quarters(image: np.ndarray) -> list[np.ndarray]:
    return [image[y : y + TILE, x : x + TILE] for y in (0, TILE) for x in (0, TILE)]


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    scale = 255.0 if a.dtype == np.uint8 else 1.0
    return np.abs(a.astype(np.float64) - b.astype(np.float64)) / scale


def _instance_map(found: Outputs) -> np.ndarray:
    """Instances of all tiles, side by side in one map."""
    maps, count = [], 0
    for class_probs, boundary_prob in zip(
        found["class_probs"], found["boundary_prob"], strict=True
    ):
        tile = instances.extract(class_probs, boundary_prob, with_contours=False).instance_map
        maps.append(np.where(tile > 0, tile + count, 0))
        count += int(tile.max())
    return np.concatenate(maps)
