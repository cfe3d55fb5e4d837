"""A page of pictures: ground truth, prediction and their difference, with the tables of scores."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from training.data.annotated import Annotated, Dataset
from training.evaluation.panoptic_quality import matched
from training.evaluation.run import Evaluation
from training.evaluation.scores import ImageScores
from training.evaluation.tables import Subject, Table
from tsfd_client.contract import CLASSES, COLOURS, TISSUES

_SIDE = 768  # pixels of a picture's longer side
_QUALITY = 85
_EACH = 2  # images: the best, the worst and the median ones

_MATCHED = (0, 160, 70)
_MISSED = (20, 80, 255)
_SUPERFLUOUS = (230, 20, 30)
_UNKNOWN = (255, 255, 255)

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1500px; margin: 2rem auto;
       padding: 0 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.tables { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0 3rem; }
table { border-collapse: collapse; margin: .3rem 0 1.2rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { padding: .18rem .7rem .18rem 0; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 500; color: #666; }
.three { display: grid; grid-template-columns: repeat(3, 1fr); gap: .7rem; }
figure { margin: 0; } figcaption { color: #666; font-size: .9rem; }
img { width: 100%; display: block; background: #eee; }
.key { display: inline-block; width: .85em; height: .85em; margin: 0 .3em 0 .9em;
       border: 1px solid #999; vertical-align: -.08em; }
.facts { color: #555; }
"""


def write(
    evaluation: Evaluation,
    data: Dataset,
    subject: Subject,
    tables: Sequence[Table],
    out: Path,
) -> None:
    """Write the page as one file that needs no other.

    Parameters
    ----------
    evaluation, data
        What was found in which images.
    subject, tables
        What was evaluated, and what `training.scorecard.tables` made of it.
    out
        File to write.
    """
    settings = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in subject.settings.items()
        if value is not None
    )
    title = html.escape(f"Evaluation: {subject.title}")
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>",
        f"<style>{_STYLE}</style><h1>{title}</h1>",
        f"<p class='facts'>{html.escape(settings or 'settings of the server')}; "
        f"{evaluation.seconds:.0f} s.</p>",
    ]
    if evaluation.groups.note:
        parts.append(f"<p>{html.escape(evaluation.groups.note)}</p>")
    parts += ["<div class='tables'>", *(_table(table) for table in tables), "</div>"]
    parts += [f"<h2>Pictures</h2><p>{_legend()}</p>"]
    for rank, index in _chosen(evaluation.scores.images):
        parts.append(_pictures(rank, evaluation, data[index], index))
    out.write_text("\n".join(parts) + "\n")


def _chosen(images: Sequence[ImageScores]) -> Iterator[tuple[str, int]]:
    """Images with the best, the worst and the median panoptic quality, each once."""
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


def _pictures(rank: str, evaluation: Evaluation, truth: Annotated, index: int) -> str:
    prediction = evaluation.predictions[index]
    scores = evaluation.scores.images[index]
    size = _size(truth.image)
    image = cv2.resize(truth.image, size, interpolation=cv2.INTER_AREA)
    true, found = (
        cv2.resize(instances, size, interpolation=cv2.INTER_NEAREST)
        for instances in (truth.instances, prediction.instances)
    )
    true_pairs, found_pairs = matched(truth.instances, prediction.instances)

    difference = (image // 2 + 127).astype(np.uint8)  # pale, so that the outlines stand out
    _draw(difference, true, _coloured(len(truth.allowed), _MISSED, true_pairs, None))
    _draw(
        difference,
        found,
        _coloured(len(prediction.classes) + 1, _SUPERFLUOUS, found_pairs, _MATCHED),
    )
    panels = {
        f"Ground truth: {sum(scores.truth_counts):,} nuclei": _draw(
            image.copy(), true, [_class_colour(int(mask)) for mask in truth.allowed]
        ),
        f"Prediction: {len(prediction.classes):,} nuclei": _draw(
            image.copy(), found, [None, *(COLOURS[CLASSES[c]] for c in prediction.classes)]
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
    figures = "".join(
        f"<figure><img src='{_jpeg(panel)}' alt='{html.escape(caption)}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, panel in panels.items()
    )
    return f"<h2>{html.escape(heading)}</h2><div class='three'>{figures}</div>"


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
    """Outline the instances, inside their edges, each in the colour of its id; None leaves out."""
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
    """Colours by id, 0..count - 1."""
    paired = set(pairs.tolist())
    return [colour_of_pairs if i in paired else colour for i in range(count)]


def _class_colour(allowed: int) -> tuple[int, int, int]:
    single = [c for c in range(1, len(CLASSES)) if allowed == 1 << c]
    return COLOURS[CLASSES[single[0]]] if single else _UNKNOWN


def _jpeg(picture: np.ndarray) -> str:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _legend() -> str:
    colours = {
        **COLOURS,
        "several classes possible": _UNKNOWN,
        "matched": _MATCHED,
        "missed": _MISSED,
        "superfluous": _SUPERFLUOUS,
    }
    return "".join(
        f"<span class='key' style='background: rgb{colour}'></span>{name}"
        for name, colour in colours.items()
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return f"<table><caption>{html.escape(table.title)}</caption><tr>{head}</tr>{rows}</table>"
