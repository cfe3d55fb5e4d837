"""A page with the tables of scores, and pictures of truth, prediction and their difference."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import jinja2
import numpy as np

from metrics.overlap import matched
from training.data.annotated import Annotated, Dataset
from training.evaluation.calibration import bins
from training.evaluation.image_scores import ImageScores
from training.evaluation.segment_and_score import Evaluation
from training.evaluation.tables import Subject
from training.evaluation.trusted import trusted_instances
from training.table import Table
from training.target import CLASSES, PANNUKE
from tsfd_client.contract import TISSUES, USE

_SIDE = 768  # pixels of a picture's longer side
_QUALITY = 85
_EACH = 2  # images of each kind: best, worst and median

_MATCHED = (0, 160, 70)
_MISSED = (20, 80, 255)
_SUPERFLUOUS = (230, 20, 30)
_UNKNOWN = (255, 255, 255)
_COLOURS = {c.name: c.colour for c in PANNUKE.classes}
_LEGEND = {
    **_COLOURS,
    "another class, or several possible": _UNKNOWN,
    "matched": _MATCHED,
    "missed": _MISSED,
    "superfluous": _SUPERFLUOUS,
}

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write(
    evaluation: Evaluation,
    data: Dataset,
    subject: Subject,
    tables: Sequence[Table],
    folder: Path,
) -> None:
    """Write ``report.html``, a self-contained page, and ``reliability.svg`` into a folder.

    Parameters
    ----------
    evaluation, data
        The nuclei found, and the images they were found in.
    subject, tables
        What was evaluated, and its tables by `training.evaluation.tables.make_tables`.
    """
    settings = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in subject.settings.items()
        if value is not None
    ]
    reliability = bins(evaluation.scores.reliability)
    page = _PAGES.get_template("report.html").render(
        title=f"Evaluation: {subject.title}",
        settings=", ".join(settings),
        seconds=evaluation.seconds,
        note=evaluation.groups.note,
        tables=tables,
        bins=reliability,
        legend=_LEGEND,
        use=USE,
        images=[
            _pictures(rank, evaluation, data[index], index)
            for rank, index in _chosen(evaluation.scores.images)
        ],
    )
    (folder / "report.html").write_text(page)
    if reliability:
        plot = _PAGES.get_template("reliability.svg").render(bins=reliability)
        (folder / "reliability.svg").write_text(plot)


def _chosen(images: Sequence[ImageScores]) -> Iterator[tuple[str, int]]:
    """Images with the best, worst and median panoptic quality, each at most once."""
    quality = [image.pq.quality.pq for image in images]
    order = sorted(
        (i for i, pq in enumerate(quality) if not math.isnan(pq)), key=lambda i: -quality[i]
    )
    each = _EACH if len(order) >= 3 * _EACH else 1
    middle = (len(order) - each) // 2
    shown: set[int] = set()
    for rank, part in (
        ("Best", order[:each]),
        ("Worst", order[-each:]),
        ("Median", order[middle : middle + each]),
    ):
        for index in part:
            if index not in shown:
                shown.add(index)
                yield rank, index


def _pictures(rank: str, evaluation: Evaluation, truth: Annotated, index: int) -> dict:
    """Heading and panels of an image for the template."""
    prediction = evaluation.predictions[index]
    scores = evaluation.scores.images[index]
    size = _size(truth.image)
    image = cv2.resize(truth.image, size, interpolation=cv2.INTER_AREA)
    maps = (truth.instances, prediction.instances)
    judged = [trusted_instances(instances, truth.ignore) for instances in maps]
    true, found, true_judged, found_judged = (
        cv2.resize(instances, size, interpolation=cv2.INTER_NEAREST)
        for instances in (*maps, *judged)
    )
    true_pairs, found_pairs = matched(*judged)

    difference = (image // 2 + 127).astype(np.uint8)  # pale, so that the outlines stand out
    _draw(difference, true_judged, _coloured(len(truth.allowed), _MISSED, true_pairs, None))
    _draw(
        difference,
        found_judged,
        _coloured(len(prediction.classes) + 1, _SUPERFLUOUS, found_pairs, _MATCHED),
    )
    panels = {
        f"Ground truth: {sum(scores.truth_counts):,} nuclei": _draw(
            image.copy(), true, [_class_colour(int(mask)) for mask in truth.allowed]
        ),
        f"Prediction: {len(prediction.classes):,} nuclei": _draw(
            image.copy(),
            found,
            [None, *(_COLOURS.get(CLASSES[c], _UNKNOWN) for c in prediction.classes)],
        ),
        f"Difference: {scores.pq.quality.tp:,} matched, {scores.pq.quality.fn:,} missed, "
        f"{scores.pq.quality.fp:,} superfluous": difference,
    }
    tissue = f", {TISSUES[truth.tissue]}" if truth.tissue is not None else ""
    heading = (
        f"{rank}: {truth.name} ({truth.source}{tissue}) - PQ {scores.pq.quality.pq:.3f}, "
        f"DQ {scores.pq.quality.dq:.3f}, SQ {scores.pq.quality.sq:.3f}, "
        f"AJI {scores.aji:.3f}, Dice {scores.dice:.3f}"
    )
    return {
        "heading": heading,
        "panels": {caption: _jpeg(panel) for caption, panel in panels.items()},
    }


def _size(image: np.ndarray) -> tuple[int, int]:
    """Width and height of the pictures of an image."""
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _draw(
    picture: np.ndarray,
    instances: np.ndarray,
    colours: Sequence[tuple[int, int, int] | None],
) -> np.ndarray:
    """Outline the instances inside their edges in the colours of their ids; None leaves one out."""
    near = np.ones((5, 5), np.uint8)
    edges = (cv2.erode(instances, near) != instances) | (cv2.dilate(instances, near) != instances)
    drawn = np.array([colour is not None for colour in colours])
    drawn[0] = False
    edges &= drawn[instances]
    palette = np.array([colour or (0, 0, 0) for colour in colours], np.uint8)
    picture[edges] = palette[instances[edges]]
    return picture


def _coloured(
    count: int,
    colour: tuple[int, int, int],
    pairs: np.ndarray,
    colour_of_pairs: tuple[int, int, int] | None,
) -> list[tuple[int, int, int] | None]:
    """List the colours of ids 0..count - 1."""
    paired = set(pairs.tolist())
    return [colour_of_pairs if i in paired else colour for i in range(count)]


def _class_colour(allowed: int) -> tuple[int, int, int]:
    single = [c for c in range(1, len(CLASSES)) if allowed == 1 << c]
    return _COLOURS[CLASSES[single[0]]] if single else _UNKNOWN


def _jpeg(picture: np.ndarray) -> str:
    """Encode a picture as a JPEG in base64."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return base64.b64encode(data.tobytes()).decode()
