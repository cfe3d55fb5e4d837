"""Calibrate a network's class probabilities on the images held back for choosing settings.

    python -m training.calibrate --manifest DATA --weights runs/lite/weights.npz --write

A network trained with oversampled rare classes and incomplete labels separates the classes but
favours some of them. A temperature and a bias per class correct this (Alexandari et al. 2020,
"Maximum likelihood with bias-corrected calibration is hard-to-beat at label shift adaptation");
both are fitted by maximum likelihood to the annotated nuclei. --write folds them into the network's
last layer, where they cost nothing at inference, if they also help on images that they were not
fitted to. Tune the thresholds afterwards.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.data.annotated import Annotated, DataError
from training.data.borders import Borders
from training.data.hold_back import hold_back
from training.data.manifest import read_manifest
from training.evaluation.in_process import Probabilities, run
from training.evaluation.trusted import trusted_instances
from training.model import weights
from training.table import Table, show
from training.target import CLASSES
from tsfd_client.contract import TILE

_CLASSES = len(CLASSES) - 1
_FOLDS = 5
_FEW_PIXELS = 20
_FLOOR = 1e-4  # added to every probability: in uint8, 0 only means less than one step


@dataclass(frozen=True)
class Calibration:
    """A scale for all class logits and a bias for each nuclear class.

    Attributes
    ----------
    scale
        Inverse of the temperature.
    bias
        float64 [5].
    """

    scale: float
    bias: np.ndarray


NONE = Calibration(1.0, np.zeros(_CLASSES))
"""The network as it is."""


@dataclass(frozen=True)
class Nuclei:
    """Annotated nuclei whose class is known at least in part.

    Attributes
    ----------
    shares
        float64 [n, 5]: the network's mean probability of each class within the nucleus.
    allowed
        bool [n, 5]: the classes that the nucleus may have.
    image
        int64 [n]: index of the image that the nucleus is in.
    """

    shares: np.ndarray
    allowed: np.ndarray
    image: np.ndarray

    def of(self, chosen: np.ndarray) -> Nuclei:
        """The nuclei where `chosen`, bool [n], is true."""
        return Nuclei(self.shares[chosen], self.allowed[chosen], self.image[chosen])


def collect(images: Iterable[Annotated], found: Iterable[Probabilities]) -> Nuclei:
    """Collect the network's class probabilities for all annotated nuclei, detected or not."""
    shares, allowed = [np.empty((0, _CLASSES))], [np.empty((0, _CLASSES), bool)]
    numbers = [np.empty(0, np.int64)]
    for number, (annotated, answer) in enumerate(zip(images, found, strict=True)):
        inside = trusted_instances(annotated.instances, annotated.ignore).ravel()
        area = np.maximum(np.bincount(inside, minlength=len(annotated.allowed)), 1)
        means = np.stack(
            [
                np.bincount(inside, plane.ravel(), minlength=len(area)) / area
                for plane in np.moveaxis(_class_map(annotated, answer), -1, 0)
            ],
            axis=-1,
        )
        may = annotated.allowed[:, None] >> np.arange(1, _CLASSES + 1) & 1 > 0
        tells = (area >= _FEW_PIXELS) & ~may.all(axis=1)
        tells[0] = False  # the background
        shares.append(means[tells])
        allowed.append(may[tells])
        numbers.append(np.full(tells.sum(), number))
    return Nuclei(np.concatenate(shares), np.concatenate(allowed), np.concatenate(numbers))


def _class_map(annotated: Annotated, answer: Probabilities) -> np.ndarray:
    """Probabilities of the nuclear classes, averaged over the tiles; float64 [H, W, 5]."""
    height, width = annotated.instances.shape
    total, tiles = np.zeros((height, width, _CLASSES)), np.zeros((height, width, 1))
    for tile, said in zip(answer.tiles, answer.answers, strict=True):
        part = np.s_[tile.y : tile.y + TILE, tile.x : tile.x + TILE]
        rows, columns = total[part].shape[:2]
        total[part] += said["class_probs"][:rows, :columns, 1:] / 255.0
        tiles[part] += 1
    return total / tiles


def fit(nuclei: Nuclei) -> Calibration:
    """Find the calibration that makes the annotated classes most likely.

    The biases are shifted so that, averaged over these nuclei, the log-odds of nucleus against
    background stay as they were. A class that none of these nuclei may have keeps a bias of 0.
    """
    told = nuclei.allowed.any(axis=0)
    shares = nuclei.shares + _FLOOR

    def calibration(values: np.ndarray) -> Calibration:
        bias = np.where(told, values[1:], 0.0)
        more = np.log((shares * np.exp(bias)).sum(axis=1) / shares.sum(axis=1)).mean()
        return Calibration(float(np.exp(values[0])), np.where(told, bias - more, 0.0))

    def cost(values: np.ndarray) -> float:
        chance = probabilities(nuclei, calibration(values))
        # A weak prior, worth one nucleus, for classes with few annotations.
        return surprise(chance, nuclei.allowed) + float(values @ values) / len(nuclei.shares)

    return calibration(minimize(cost, np.zeros(1 + _CLASSES)).x)


def probabilities(nuclei: Nuclei, calibration: Calibration) -> np.ndarray:
    """Probability of each class given that there is a nucleus, float64 [n, 5]."""
    logits = calibration.scale * np.log(nuclei.shares + _FLOOR) + calibration.bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def surprise(chance: np.ndarray, allowed: np.ndarray) -> float:
    """Mean negative log probability of the classes that each nucleus may have."""
    return float(-np.log(np.maximum((chance * allowed).sum(axis=1), 1e-12)).mean())


def _f1(nuclei: Nuclei, said: np.ndarray) -> list[float]:
    """F1 of each class over nuclei with one allowed class; NaN for classes without nuclei."""
    known = nuclei.allowed.sum(axis=1) == 1
    truth, said = nuclei.allowed[known].argmax(axis=1), said[known]
    scores = []
    for c in range(_CLASSES):
        both, either = np.sum((truth == c) & (said == c)), np.sum(truth == c) + np.sum(said == c)
        scores.append(2 * both / either if (truth == c).any() else np.nan)
    return scores


def fields(images: Sequence[Annotated]) -> np.ndarray:
    """Which field or patient each image is of, int [images]."""
    borders, same, firsts = Borders(), [], {}
    for number, image in enumerate(images):
        borders.add(image.image, image.name)
        same.append((number, firsts.setdefault((image.source, image.group), number)))
    numbers = {image.name: number for number, image in enumerate(images)}
    same += [(numbers[first], numbers[second]) for first, second in borders.pairs()]
    graph = coo_array((np.ones(len(same)), tuple(np.transpose(same))), shape=[len(images)] * 2)
    return connected_components(graph, directed=False)[1]


def cross_validated(nuclei: Nuclei, fields: np.ndarray) -> np.ndarray:
    """Probabilities as `probabilities`, calibrated on the images of other fields.

    Parameters
    ----------
    nuclei
        Of the images.
    fields
        int [images], as the function `fields`.

    Raises
    ------
    DataError
        If all nuclei are of one field.
    """
    of_nuclei = np.unique(fields[nuclei.image], return_inverse=True)[1]
    if not of_nuclei.any():
        raise DataError(
            "The nuclei with a class that are held back to choose by are all of one field or "
            "patient: whether a calibration helps cannot be told."
        )
    after = np.empty_like(nuclei.shares)
    for fold in range(_FOLDS):
        out = of_nuclei % _FOLDS == fold
        after[out] = probabilities(nuclei.of(out), fit(nuclei.of(~out)))
    return after


def report(
    nuclei: Nuclei, before: np.ndarray, after: np.ndarray, calibration: Calibration
) -> Table:
    """Scores of the probabilities, float64 [n, 5], `before` and `after` calibration."""
    columns = zip(
        CLASSES[1:],
        (nuclei.allowed & (nuclei.allowed.sum(axis=1) == 1)[:, None]).sum(axis=0),
        _f1(nuclei, before.argmax(axis=1)),
        _f1(nuclei, after.argmax(axis=1)),
        calibration.bias,
        strict=True,
    )
    return Table(
        title=(
            f"Classes of {len(nuclei.shares):,} annotated nuclei: surprise "
            f"{surprise(before, nuclei.allowed):.3f}, calibrated "
            f"{surprise(after, nuclei.allowed):.3f} (cross-validated); "
            f"temperature {1 / calibration.scale:.2f}"
        ),
        header=("class", "nuclei", "F1", "calibrated", "bias"),
        rows=tuple(
            (name, f"{count:,}", f"{a:.3f}", f"{b:.3f}", f"{bias:+.2f}")
            for name, count, a, b, bias in columns
        ),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="DIR", help="folder with a manifest.json"
    )
    parser.add_argument("--split", default="train", help="of the manifest (default: %(default)s)")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--write", action="store_true", help="fold the calibration into the weights file"
    )
    arguments = parser.parse_args(argv)
    try:
        weights.check_classes(arguments.weights)
        target = weights.target(arguments.weights)
        data = read_manifest(arguments.manifest, arguments.split, target.mpp)
        images = list(hold_back(data).choosing)
        network, _ = weights.load(arguments.weights)
        pixels = (image.image for image in images)
        nuclei = collect(images, run(network, pixels, target, target.mpp))
        if not len(nuclei.shares):
            raise DataError(
                f"No nucleus of the split {arguments.split!r} that is held back to choose by has a "
                "class."
            )
        calibration = fit(nuclei)
        before, after = probabilities(nuclei, NONE), cross_validated(nuclei, fields(images))
        show([report(nuclei, before, after, calibration)])
        if surprise(after, nuclei.allowed) >= surprise(before, nuclei.allowed):
            print("It does not help on images that it is not fitted to: nothing to write.")
        elif arguments.write:
            weights.fold(arguments.weights, calibration.scale, calibration.bias)
            print(f"Folded the calibration into {arguments.weights}: tune the thresholds now.")
    except (DataError, weights.WeightsError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("calibrate: stopped before the end; nothing was written.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
