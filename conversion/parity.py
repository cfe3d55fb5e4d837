"""Whether two forms of the network agree in their probabilities and in the nuclei found.

All forms are given the same tiles: H&E tissue (`samples.histology`), a synthetic field, and
extremes without nuclei on which arithmetic may break. Nuclei are found with the release's
thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import instances
import numpy as np

from conversion.agreement import LEAST_KEPT, LEAST_PQ, Agreement
from conversion.errors import ConversionError
from conversion.model_io import TILE
from conversion.runtimes import Outputs

_CLASS = instances.COLUMNS.index("class")
_SATURATED = ((255, 0, 0), (0, 0, 255), (255, 0, 255))
_BLANKS = (255, 0)
_TISSUE = 2  # tiles, the first
_PROBABILITIES = ("class_probs", "boundary_prob", "tissue_probs")


@dataclass(frozen=True)
class Tolerance:
    """Differences allowed between a form of the network and the SavedModel.

    Attributes
    ----------
    percentile, difference
        Largest `difference` of probability (0..1) at this percentile of the pixels, of all tiles
        in float32. Where arithmetic is coarser, of the tissue alone: on what it was never taught,
        a network may be of two minds, and the last bit decides.
    tissue_difference
        Largest difference in a tissue's probability.
    mean_difference
        Largest mean difference of each output's probabilities.
    feature_difference
        Largest mean difference of the features, in standard deviations.
    panoptic_quality, kept
        Lowest panoptic quality, and lowest share of a class's nuclei that must keep it.
    """

    percentile: float
    difference: float
    tissue_difference: float
    mean_difference: float
    feature_difference: float
    panoptic_quality: float
    kept: float


# One level of uint8 is 0.004. The stain channels are floored to whole levels, so a difference in
# the last bit of a logarithm can move an input by 1/255, which may be visible in single pixels.
FLOAT32 = Tolerance(
    100,
    0.05,
    tissue_difference=0.05,
    mean_difference=0.001,
    feature_difference=0.01,
    panoptic_quality=0.98,
    kept=0.98,
)
# OpenVINO computes in 16 bits, too, if that is faster on the processor.
HALF = Tolerance(
    99.9,
    0.25,
    tissue_difference=0.20,
    mean_difference=0.005,
    feature_difference=0.1,
    panoptic_quality=LEAST_PQ,
    kept=LEAST_KEPT,
)
# These limits detect a broken graph; what INT8 costs in accuracy takes annotated images to tell.
INT8 = Tolerance(
    99.9,
    0.6,
    tissue_difference=1.0,
    mean_difference=0.1,
    feature_difference=0.5,
    panoptic_quality=0.70,
    kept=0.50,
)


@dataclass(frozen=True)
class Served:
    """Post-processing parameters and classes with which a network is served.

    Attributes
    ----------
    parameters
        Parameters of the post-processing.
    classes
        Names by class id, which begins with 1.
    """

    parameters: instances.Parameters
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Parity:
    """Differences between one form of the network and the SavedModel.

    Attributes
    ----------
    form
        Name of the form.
    max_difference, percentile_difference, mean_difference
        Of each output's probabilities (0..1); the second at the tolerance's percentile of the
        pixels that it judges.
    feature_difference
        Mean difference of the features, in standard deviations.
    nuclei, nuclei_reference
        Instances found over all tiles.
    panoptic_quality
        Between the two sets of instances over all tiles; 1 if both are empty.
    kept
        Share of the nuclei that keep their class, for the classes with enough nuclei in the tiles.
    untold
        The other classes.
    failures
        A sentence for each limit exceeded.
    """

    form: str
    max_difference: dict[str, float]
    percentile_difference: dict[str, float]
    mean_difference: dict[str, float]
    feature_difference: float
    nuclei: int
    nuclei_reference: int
    panoptic_quality: float
    kept: dict[str, float]
    untold: tuple[str, ...]
    failures: tuple[str, ...]

    def line(self) -> str:
        """One line for the screen."""
        worst, mean = max(self.max_difference.values()), max(self.mean_difference.values())
        shown = [f"{share:.3f} of {name}" for name, share in self.kept.items()]
        untold = ", ".join(self.untold)
        return (
            f"{self.form}: probabilities differ by {mean:.5f} on average, by {worst:.4f} at most, "
            f"features by {self.feature_difference:.4f} deviations, "
            f"{self.nuclei} nuclei against {self.nuclei_reference}, "
            f"PQ {self.panoptic_quality:.4f}, class kept by {', '.join(shown) or 'none'}"
            f"{f' (too few to tell: {untold})' if untold else ''}: "
            f"{'FAILED' if self.failures else 'ok'}"
        )


def tiles() -> np.ndarray:
    """uint8 [12, 256, 256, 3]: two of tissue, four synthetic, saturated stains, noise, blanks.

    Raises
    ------
    ConversionError
        If the tissue's image is not installed.
    """
    # Imported here: a serving container has none of these and reads the tiles from a file.
    import cv2

    from samples import histology
    from samples.synthetic import generate

    try:
        tissue = cv2.imread(str(histology.path()), cv2.IMREAD_COLOR_RGB)
    except FileNotFoundError as error:
        raise ConversionError(str(error)) from error
    corners = [tissue[:TILE, :TILE], tissue[-TILE:, -TILE:]]
    field = generate(2 * TILE, 2 * TILE, nuclei=90, seed=11).image
    synthetic = [field[y : y + TILE, x : x + TILE] for y in (0, TILE) for x in (0, TILE)]
    noise = 255 * np.random.default_rng(0).integers(0, 2, (TILE, TILE, 3), np.uint8)
    saturated, blanks = (
        [np.full((TILE, TILE, 3), colour, np.uint8) for colour in colours]
        for colours in (_SATURATED, _BLANKS)
    )
    return np.stack([*corners, *synthetic, *saturated, noise, *blanks])


def compare(
    form: str,
    reference: Outputs,
    found: Outputs,
    tolerance: Tolerance,
    served: Served,
) -> Parity:
    """Compare outputs with the SavedModel's.

    Parameters
    ----------
    form
        Name of what is compared.
    reference, found
        As `conversion.runtimes.infer` returns them; `found` may answer the tiles several times.
    tolerance
        What is allowed.
    served
        How the answers become nuclei.
    """
    judged = np.arange(len(found["class_probs"])) % len(reference["class_probs"]) < _TISSUE
    judged |= tolerance.percentile == 100
    reference = {
        name: np.resize(values, (len(found[name]), *values.shape[1:]))
        for name, values in reference.items()
    }
    differences = {name: _difference(reference[name], found[name]) for name in _PROBABILITIES}
    features = _feature_difference(reference["features"], found["features"])
    largest = {name: float(np.max(values)) for name, values in differences.items()}
    high = {
        name: float(np.percentile(values[judged], tolerance.percentile))
        for name, values in differences.items()
    }
    mean = {name: float(np.mean(values)) for name, values in differences.items()}
    nuclei = _agreement(reference, found, served)

    failures = _impossible(found) + nuclei.lost_classes(tolerance.kept)
    for name in _PROBABILITIES:
        if name == "tissue_probs":
            found_most, allowed, where = largest[name], tolerance.tissue_difference, "at most"
        else:
            found_most, allowed = high[name], tolerance.difference
            pixels = "pixels" if judged.all() else "pixels of tissue"
            where = f"at the {tolerance.percentile:g}th percentile of the {pixels}"
        # Written so that NaN fails.
        if not found_most <= allowed:
            failures.append(f"{name} differs by {found_most:.4f} {where} (allowed {allowed})")
        if not mean[name] <= tolerance.mean_difference:
            failures.append(
                f"{name} differs by {mean[name]:.5f} on average "
                f"(allowed {tolerance.mean_difference})"
            )
    if not features <= tolerance.feature_difference:
        failures.append(
            f"features differ by {features:.4f} standard deviations on average "
            f"(allowed {tolerance.feature_difference})"
        )
    if nuclei.panoptic_quality < tolerance.panoptic_quality:
        failures.append(
            f"instances agree to PQ {nuclei.panoptic_quality:.4f} (at least "
            f"{tolerance.panoptic_quality} is needed)"
        )
    return Parity(
        form,
        max_difference=largest,
        percentile_difference=high,
        mean_difference=mean,
        feature_difference=features,
        nuclei=nuclei.nuclei_found,
        nuclei_reference=nuclei.nuclei,
        panoptic_quality=nuclei.panoptic_quality,
        kept=nuclei.kept,
        untold=tuple(name for name in served.classes if name not in nuclei.kept),
        failures=tuple(failures),
    )


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    scale = 255.0 if a.dtype == np.uint8 else 1.0
    return np.abs(a.astype(np.float64) - b.astype(np.float64)) / scale


def _feature_difference(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    deviations = a.std(axis=(0, 1, 2)) + 1e-6
    return float((np.abs(a - b) / deviations).mean())


def _impossible(found: Outputs) -> list[str]:
    """Find outputs that no network may return; the sentences name the first such tile."""
    sums = found["class_probs"].sum(axis=-1, dtype=np.int64)
    rounding = found["class_probs"].shape[-1] / 2
    wrong = {
        "class_probs do not sum to one": np.abs(sums - 255) > rounding,
        "tissue_probs are not finite": ~np.isfinite(found["tissue_probs"]),
    }
    return [
        f"{what} on tile {tiles.argmax() + 1} of {len(tiles)}"
        for what, where in wrong.items()
        if (tiles := where.reshape(len(where), -1).any(axis=1)).any()
    ]


def _agreement(reference: Outputs, found: Outputs, served: Served) -> Agreement:
    names = np.array(["background", *served.classes])

    def nuclei(outputs: Outputs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Instance map and names of the classes, tile by tile."""
        for maps in zip(outputs["class_probs"], outputs["boundary_prob"], strict=True):
            tile = instances.extract(*maps, served.parameters, with_contours=False)
            yield tile.instance_map, names[tile.nuclei[:, _CLASS].astype(np.int64)]

    pairs = zip(nuclei(reference), nuclei(found), strict=True)
    return sum((Agreement.of(*theirs, *ours) for theirs, ours in pairs), Agreement())
