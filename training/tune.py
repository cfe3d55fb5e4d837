"""Find the thresholds that suit a weights file, on the images held back for choosing settings.

    python -m training.tune --manifest DATA --weights runs/lite/weights.npz --write

The network runs once per image; settings of a grid then post-process its probabilities: all pairs
of a foreground threshold and a smallest confidence, which depend on each other most, all pairs of
the other two with the best of these, and so on in turns until nothing is better. The best setting
has the highest PQ, averaged over the images of each set and then over the sets; mPQ and class F1
are means over the sets with classes. --write stores the best in the weights file,
where the evaluation, the export and, after `make convert`, the server find it, with biases that
move its foreground and boundary thresholds to 0.5. The smallest confidence, a mean over pixels, is
then chosen anew. The weights' present setting is one of those that are compared.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from operator import add
from pathlib import Path

from instances import Parameters
from tqdm import tqdm

from metrics.estimates import nanmean
from metrics.panoptic_quality import panoptic_quality
from training.data.annotated import MPP, Annotated, DataError, Dataset
from training.data.hold_back import hold_back
from training.data.manifest import read_manifest
from training.evaluation.class_groups import ClassGroups, find_groups
from training.evaluation.image_scores import ImageScores, score_image
from training.evaluation.in_process import Probabilities, run
from training.evaluation.trusted import trusted_instances
from training.model import weights
from training.table import Table, show
from training.target import Target

_SHOWN = 15
_GRID: dict[str, tuple] = {
    "foreground_threshold": (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 0.94),
    "boundary_threshold": (0.4, 0.5, 0.6, 0.7),
    "min_area": (20, 40, 60),  # of pixels of 0.25 µm
    "min_confidence": (0.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98),
}
_PAIRS = (("foreground_threshold", "min_confidence"), ("boundary_threshold", "min_area"))


@dataclass(frozen=True)
class Choosing:
    """A set's images for choosing settings, and the network's probabilities for them."""

    images: list[Annotated]
    probabilities: list[Probabilities]
    groups: ClassGroups


@dataclass(frozen=True)
class Result:
    """Scores of a setting.

    Attributes
    ----------
    parameters
        The setting.
    pq
        PQ by set, averaged over its images.
    mpq, f1
        mPQ and the classes' mean F1 of detection, means over the sets with classes; NaN without.
    """

    parameters: Parameters
    pq: dict[str, float]
    mpq: float
    f1: float

    @property
    def mean(self) -> float:
        """Mean PQ of the sets."""
        return float(nanmean(list(self.pq.values())))


def search(
    score: Callable[[Parameters], float], now: Parameters, mpp: float = MPP
) -> list[Parameters]:
    """Try settings of the grid until no pair of values is better; the best comes first.

    Parameters
    ----------
    score
        PQ of a setting.
    now
        The present setting, which others must beat.
    mpp
        Scale of the network's pixels.
    """
    areas = tuple(round(area * (MPP / mpp) ** 2) for area in _GRID["min_area"])
    grid = _GRID | {"min_area": areas}
    tried = {now: score(now)}
    best, known = Parameters(min_area=areas[1]), 0
    while True:
        for names in _PAIRS:
            for values in product(*(grid[name] for name in names)):
                setting = replace(best, **dict(zip(names, values, strict=True)))
                if setting not in tried:
                    tried[setting] = score(setting)
            best = max(tried, key=tried.__getitem__)
        if len(tried) == known:
            return sorted(tried, key=tried.__getitem__, reverse=True)
        known = len(tried)


def mean_pq(sets: dict[str, Choosing], parameters: Parameters) -> float:
    """PQ of one setting, a mean over the images of each set and then over the sets."""
    return float(nanmean([_of_images(choosing, parameters) for choosing in sets.values()]))


def _of_images(choosing: Choosing, parameters: Parameters) -> float:
    qualities = []
    for image, probabilities in zip(choosing.images, choosing.probabilities, strict=True):
        found = probabilities.nuclei(parameters).instance_map
        truth, found = (trusted_instances(m, image.ignore) for m in (image.instances, found))
        qualities.append(panoptic_quality(truth, found).pq)
    return float(nanmean(qualities))


def score(sets: dict[str, Choosing], parameters: Parameters) -> Result:
    """Score one setting on every set."""
    scores = {
        name: [
            score_image(image, found.nuclei(parameters), choosing.groups)
            for image, found in zip(choosing.images, choosing.probabilities, strict=True)
        ]
        for name, choosing in sets.items()
    }
    return Result(
        parameters,
        pq={
            name: float(nanmean([image.pq.quality.pq for image in images]))
            for name, images in scores.items()
        },
        mpq=float(nanmean([nanmean([i.pq.multi for i in images]) for images in scores.values()])),
        f1=float(nanmean([_class_f1(images) for images in scores.values()])),
    )


def _class_f1(images: Sequence[ImageScores]) -> float:
    by_class = zip(*(image.class_detection for image in images), strict=True)
    return float(nanmean([reduce(add, detections).f1 for detections in by_class]))


def table(results: Sequence[Result], title: str) -> Table:
    """Settings with their scores, in the order given."""
    sets = list(results[0].pq)
    return Table(
        title=title,
        header=(
            "foreground",
            "boundary",
            "min area",
            "min confidence",
            *sets,
            "mean PQ",
            "mPQ",
            "F1",
        ),
        rows=tuple(
            (
                *(f"{getattr(result.parameters, name):g}" for name in _GRID),
                *(f"{pq:.3f}" for pq in result.pq.values()),
                *(f"{figure:.3f}" for figure in (result.mean, result.mpq, result.f1)),
            )
            for result in results
        ),
    )


def _answers(sets: dict[str, Dataset], path: Path, target: Target) -> dict[str, Choosing]:
    network, _ = weights.load(path)
    return {
        name: Choosing(
            images=list(data),
            probabilities=list(run(network, (image.image for image in data), target, target.mpp)),
            groups=find_groups(data),
        )
        for name, data in sets.items()
    }


def _store(best: Parameters, sets: dict[str, Dataset], path: Path, target: Target) -> None:
    if best.foreground_threshold == best.boundary_threshold == 0.5:
        weights.set_parameters(path, best)
        print(f"Put the best into {path}.")
        return
    with tempfile.TemporaryDirectory() as folder:
        # The file itself is not touched before everything is known.
        copy = shutil.copyfile(path, Path(folder) / path.name)
        moved = weights.centre(copy, best)
        choosing = _answers(sets, copy, target)
    settings = [
        replace(moved, min_confidence=sure)
        for sure in (moved.min_confidence, *_GRID["min_confidence"])
    ]
    chosen = max(settings, key=lambda setting: mean_pq(choosing, setting))
    weights.centre(path, best)
    weights.set_parameters(path, chosen)
    print(
        f"Put the best into {path}, with biases that move its thresholds from "
        f"{best.foreground_threshold:g} (foreground) and {best.boundary_threshold:g} (boundary) to "
        f"0.5; its min_confidence then is best at {chosen.min_confidence:g}."
    )


def _read(folder: Path, split: str, names: Sequence[str] | None, mpp: float) -> dict[str, Dataset]:
    entries = hold_back(read_manifest(folder, split, mpp)).choosing.entries
    sources = sorted({entry.source for entry in entries})
    for name in names or []:
        if name not in sources:
            raise DataError(
                f"No image of the set {name!r} is held back to choose settings by; those of "
                f"{', '.join(sources) or 'no set'} are."
            )
    if not sources:
        raise DataError(
            f"No image of the split {split!r} is held back to choose settings by: its sets have "
            "too few groups."
        )
    return {
        name: Dataset(entry for entry in entries if entry.source == name)
        for name in names or sources
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.tune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="DIR", help="folder with a manifest.json"
    )
    parser.add_argument("--split", default="train", help="of the manifest (default: %(default)s)")
    parser.add_argument("--set", action="append", help="only this data set; may be repeated")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--write", action="store_true", help="put the best into the weights file")
    arguments = parser.parse_args(argv)
    try:
        weights.check_classes(arguments.weights)
        now, target = weights.parameters(arguments.weights), weights.target(arguments.weights)
        sets = _read(arguments.manifest, arguments.split, arguments.set, target.mpp)
        choosing = _answers(sets, arguments.weights, target)
        with tqdm(desc="Searching", unit=" settings", disable=None) as bar:

            def scored(setting: Parameters) -> float:
                bar.update()
                return mean_pq(choosing, setting)

            found = search(scored, now, target.mpp)
        results = [score(choosing, setting) for setting in found[:_SHOWN]]
        images = sum(len(data) for data in sets.values())
        title = f"{arguments.weights}: the best of {len(found)} settings on {images:,} images"
        show(
            [
                table(results, title),
                table([score(choosing, now)], "As the weights are now"),
            ]
        )
        if arguments.write:
            _store(results[0].parameters, sets, arguments.weights, target)
    except (DataError, weights.WeightsError, OSError) as error:
        print(f"tune: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tune: stopped before the end; nothing was written.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
