"""What was learned from marks, for the terminal and as a page of HTML that needs no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

import numpy as np

from tsfd_client.classes.fit import MORE, Lesson
from tsfd_client.classes.scores import Estimate
from tsfd_client.errors import OutputError
from tsfd_client.files import replacing
from tsfd_client.names import shown

_WEAK: Final = 0.3  # F1 below which a class is not to be relied on
_HEADER: Final = ("class", "marks", "F1 before", "F1 after", f"{MORE} more marks")
_WIDTH, _HEIGHT, _EDGE = 460, 220, 40  # of the learning curve, pixels
_BAR: Final = 260  # width of an F1 of 1, pixels
_TITLE: Final = "<title>Your classes</title>"
_BEGIN: Final = 500  # bytes, of which the title is one of the first
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em;
  color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.swatch { display: inline-block; width: .8em; height: .8em; border: 1px solid #888;
  margin-right: .4em; }
.verdict { font-size: 1.2em; }
.weak { color: #a00; }
svg { max-width: 100%; }
text { font: 12px system-ui, sans-serif; fill: #222; }
"""


def text(lesson: Lesson) -> str:
    """The lesson as lines for a terminal."""
    names = [shown(kind.name) for kind in lesson.classes]
    confusion = [
        (names[k], *(f"{count:,}" for count in lesson.judgement.confusion[k].tolist()))
        for k in _marked(lesson)
    ]
    curve = [
        (f"{int(marks.sum()):,}", f"{int(marks.min()):,}", f"{point.mean:.2f}")
        for point, marks in zip(lesson.curve, _marks_of(lesson), strict=True)
    ]
    parts = [
        _aligned(_HEADER, list(_rows(lesson))),
        f"F1 is of {_how(lesson)}, with 95 % intervals.",
        "Marks (rows) and what the new classes make of them:\n" + _aligned(("", *names), confusion),
        "Learning curve:\n" + _aligned(("marks", "of the rarest class", "mean F1"), curve),
        *filter(None, [_most_needed(lesson), _weak(lesson)]),
        lesson.verdict,
    ]
    return "\n\n".join(parts)


def is_report(path: Path) -> bool:
    """Whether a file is such a page."""
    try:
        return _TITLE in path.read_bytes()[:_BEGIN].decode("utf-8", "replace")
    except OSError:
        return False


def write_html(lesson: Lesson, path: Path) -> None:
    """Write the lesson as a page, replacing `path` only when complete.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        with replacing(path) as partial:
            partial.write_text(_html(lesson), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def _how(lesson: Lesson) -> str:
    groups = lesson.judgement.groups
    return (
        f"marks on {groups.kind} that a fit has not seen ({groups.number} {groups.kind}), weighed "
        "as often as their classes occur"
    )


def _rows(lesson: Lesson) -> Iterator[tuple[str, ...]]:
    judged = lesson.judgement
    before, after = judged.before.classes, judged.after.classes
    for k in _marked(lesson):
        more = "-" if np.isnan(lesson.worth[k]) else f"+{lesson.worth[k]:.2f}"
        name = shown(lesson.classes[k].name)
        yield name, f"{lesson.marks[k]:,}", str(before[k]), str(after[k]), more
    total = f"{int(lesson.marks.sum()):,}"
    yield "mean", total, str(judged.before.mean), str(judged.after.mean), ""


def _most_needed(lesson: Lesson) -> str | None:
    if np.isnan(lesson.worth).all() or not np.nanmax(lesson.worth) > 0:
        return None
    k = int(np.nanargmax(lesson.worth))
    return (
        f"Marks are needed most of {shown(lesson.classes[k].name)}: {MORE} more would raise its F1 "
        f"by about {lesson.worth[k]:.2f}."
    )


def _weak(lesson: Lesson) -> str | None:
    """A warning of classes that are learned but rarely right."""
    named = [
        f"{shown(kind.name)} ({f1.value:.2f})"
        for kind, f1 in zip(lesson.classes, lesson.judgement.after.classes, strict=True)
        if f1.value < _WEAK
    ]
    if lesson.head is None or not named:
        return None
    return (
        f"Do not rely on classes whose F1 is below {_WEAK}: {', '.join(named)}. Mark more of them, "
        "or join them with others."
    )


def _marked(lesson: Lesson) -> list[int]:
    """The classes that have marks, by number."""
    return [int(k) for k in np.flatnonzero(lesson.marks)]


def _marks_of(lesson: Lesson) -> list[np.ndarray]:
    """Numbers of marks at each point of the learning curve, of the classes that have any."""
    return [point.marks[_marked(lesson)] for point in lesson.curve]


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side: the first to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if position else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


def _html(lesson: Lesson) -> str:
    names = [escape(shown(kind.name)) for kind in lesson.classes]
    swatches = [
        f'<span class="swatch" style="background:rgb{lesson.classes[k].colour}"></span>'
        for k in _marked(lesson)
    ]
    needed, weak = _most_needed(lesson), _weak(lesson)
    rows = [
        (swatch + escape(row[0]), *row[1:])
        for swatch, row in zip((*swatches, ""), _rows(lesson), strict=True)
    ]
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
{_TITLE}
<style>{_STYLE}</style>
<h1>Your classes</h1>
<p class="verdict">{escape(lesson.verdict)}</p>
{f'<p class="weak">{escape(weak)}</p>' if weak else ""}
{_table(_HEADER, rows)}
<p>F1 is of {escape(_how(lesson))}, with 95 % intervals.</p>
<h2>F1 before (grey) and after</h2>
{_bars(lesson, names)}
<h2>What marked nuclei are taken for</h2>
<p>Marks in rows, the new classes in columns.</p>
{_confusion(lesson, names)}
<h2>More marks</h2>
<p>{escape(needed) if needed else "There are too few marks to say what more would be worth."}</p>
{_curve(lesson)}
</html>
"""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>\n" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{body}</table>"


def _bars(lesson: Lesson, names: Sequence[str]) -> str:
    left, step = 10 + 7 * max(len(name) for name in names), 34
    before, after = lesson.judgement.before.classes, lesson.judgement.after.classes
    parts = []
    for number, k in enumerate(_marked(lesson)):
        y = 6 + step * number
        parts += [
            f'<text x="{left - 6}" y="{y + 15}" text-anchor="end">{names[k]}</text>',
            _bar(left, y, before[k], "#aaa"),
            _bar(left, y + 12, after[k], f"rgb{lesson.classes[k].colour}"),
        ]
    return _svg(left + _BAR + 30, step * len(_marked(lesson)) + 10, parts)


def _bar(left: float, y: float, f1: Estimate, colour: str) -> str:
    low, high = left + _BAR * f1.low, left + _BAR * f1.high
    return (
        f'<rect x="{left}" y="{y}" width="{_BAR * f1.value:.1f}" height="10" fill="{colour}" '
        'stroke="#666" stroke-width=".5"/>'
        f'<path d="M{low:.1f} {y + 5}H{high:.1f}" stroke="#222"/>'
    )


def _confusion(lesson: Lesson, names: Sequence[str]) -> str:
    counts = lesson.judgement.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = "".join(
        f"<tr><td>{names[k]}</td>"
        + "".join(
            f'<td style="background:rgba(0,114,255,{share / 2:.2f})">{count:,}</td>'
            for count, share in zip(counts[k].tolist(), shares[k].tolist(), strict=True)
        )
        + "</tr>\n"
        for k in _marked(lesson)
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table>\n<tr><th></th>{head}</tr>\n{rows}</table>"


def _curve(lesson: Lesson) -> str:
    """Mean F1 by the number of marks, on a logarithmic scale."""
    curve, marks = lesson.curve, np.array([each.sum() for each in _marks_of(lesson)], float)
    across = np.log(marks / marks[0]) / max(float(np.log(marks[-1] / marks[0])), 1e-9)
    places = [
        (_EDGE + (_WIDTH - 2 * _EDGE) * x, _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * point.mean)
        for x, point in zip(across.tolist(), curve, strict=True)
    ]
    base, right = _HEIGHT - _EDGE, _WIDTH - _EDGE
    parts = [
        f'<path d="M{_EDGE} {_EDGE}V{base}H{right}" fill="none" stroke="#888"/>',
        f'<text x="{_EDGE - 6}" y="{base}" text-anchor="end">0</text>',
        f'<text x="{_EDGE - 6}" y="{_EDGE + 4}" text-anchor="end">1</text>',
        f'<text x="{_EDGE}" y="{_EDGE - 12}">mean F1 by the number of marks</text>',
        '<polyline fill="none" stroke="#0072ff" stroke-width="2" points="'
        + " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        + '"/>',
    ]
    for (x, y), number, point in zip(places, marks.tolist(), curve, strict=True):
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#0072ff"/>',
            f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{point.mean:.2f}</text>',
            f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{number:,.0f}</text>',
        ]
    return _svg(_WIDTH, _HEIGHT, parts)


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'xmlns="http://www.w3.org/2000/svg" role="img">\n{inside}\n</svg>'
    )
