"""Marker-controlled watershed on the boundary probability."""

from typing import Final

import numpy as np

from instances.compile import kernel
from instances.labels import BACKGROUND, SHARED
from instances.runs import connect

_MIN_SEED_AREA: Final = 6  # smaller interiors are gaps in a blurred boundary, not nuclei
_OUTSIDE, _RIM, _INTERIOR = range(3)


@kernel
def watershed(
    class_probs,
    boundary_prob,
    foreground_level,
    boundary_level,
    labels,
    waves,
    now,
    later,
    spans,
    interiors,
):
    """Split the foreground: interiors become seeds, which grow along low boundary probability.

    Parameters
    ----------
    class_probs, boundary_prob
        uint8 [H, W, 1 + K] and [H, W].
    foreground_level, boundary_level
        A pixel is foreground, or boundary, if its probability times 255 exceeds the level.
    labels
        int32 [(H + 2) * (W + 2)]; receives labels 1..n, 0 elsewhere.
    waves, now, later
        int32 [(H + 2) * (W + 2)], for intermediate results.
    spans
        Memory for `instances.runs`; receives the runs of foreground, numbered by their label, or
        `SHARED`.
    interiors
        Memory for runs.

    Returns
    -------
    int
        n.
    int
        Number of spans.
    """
    stride = boundary_prob.shape[1] + 2
    span_count, interior_count = _find_runs(
        class_probs, boundary_prob, foreground_level, boundary_level, spans, interiors
    )
    spans, interiors = spans[:span_count], interiors[:interior_count]
    connect(spans, stride)
    connect(interiors, stride)
    seeds = _number_seeds(interiors)
    count = _number_spans(spans, interiors, seeds)
    strengths, rims = _paint(boundary_prob, labels, spans, interiors, seeds, stride)
    if rims.any():
        _flood(labels, strengths, interiors, rims, waves, now, later, stride)
    return count, span_count


@kernel
def _find_runs(class_probs, boundary_prob, foreground_level, boundary_level, spans, interiors):
    """Find the runs of foreground and of interior; return their numbers."""
    height, width = boundary_prob.shape
    span_count, interior_count = 0, 0
    for y in range(height):
        p = (y + 1) * (width + 2)
        state = _OUTSIDE
        for x in range(width):
            p += 1
            if 255 - class_probs[y, x, 0] <= foreground_level:
                here = _OUTSIDE
            elif boundary_prob[y, x] > boundary_level:
                here = _RIM
            else:
                here = _INTERIOR
            if here == state:
                continue
            if state == _OUTSIDE:
                spans[span_count, 0] = p
            elif state == _INTERIOR:
                interiors[interior_count, 1] = p
                interior_count += 1
            if here == _OUTSIDE:
                spans[span_count, 1] = p
                span_count += 1
            elif here == _INTERIOR:
                interiors[interior_count, 0] = p
            state = here
        if state == _INTERIOR:
            interiors[interior_count, 1] = p + 1
            interior_count += 1
        if state != _OUTSIDE:
            spans[span_count, 1] = p + 1
            span_count += 1
    return span_count, interior_count


@kernel
def _number_seeds(interiors):
    """Number large enough interiors 1..n, and their runs likewise, others 0; return n."""
    numbers = np.zeros(len(interiors), np.int32)  # first the sizes
    for start, end, first in interiors:
        numbers[first] += end - start
    count = 0
    for i in range(len(interiors)):
        first = interiors[i, 2]
        if first == i:
            if numbers[i] < _MIN_SEED_AREA:
                numbers[i] = 0
            else:
                count += 1
                numbers[i] = count
        interiors[i, 2] = numbers[first]
    return count


@kernel
def _number_spans(spans, interiors, count):
    """Number the spans by label; return the number of labels.

    Foreground with one seed is all that seed's, and without a seed a label of its own.
    """
    labels = np.zeros(len(spans), np.int32)
    span = 0
    for start, _, seed in interiors:
        if seed > 0:
            while spans[span, 1] <= start:
                span += 1
            first = spans[span, 2]
            if labels[first] == 0:
                labels[first] = seed
            elif labels[first] != seed:
                labels[first] = SHARED
    for i in range(len(spans)):
        first = spans[i, 2]
        if labels[first] == 0:
            count += 1
            labels[first] = count
        spans[i, 2] = labels[first]
    return count


@kernel
def _paint(boundary_prob, labels, spans, interiors, count, stride):
    """Label the pixels: background, spans of one label, and of others the seeds and the rims.

    Returns strengths [n + 1] of the seeds among rims, which decide where two meet, and the number
    of rim pixels by boundary probability, [256].
    """
    values = boundary_prob.reshape(-1)
    strengths = np.zeros(count + 1, np.int64)
    rims = np.zeros(256, np.int64)
    painted, i = 0, 0
    for start, end, label in spans:
        labels[painted:start] = BACKGROUND
        painted = end
        if label != SHARED:
            labels[start:end] = label
            continue
        border = stride + 1 + 2 * (start // stride - 1)  # pixels of it before this row's first one
        rim = start
        while i < len(interiors) and interiors[i, 0] < end:
            first, last, seed = interiors[i]
            i += 1
            if first >= start and seed > 0:
                _paint_rims(values, labels, rims, rim, first, border)
                rim = last
                labels[first:last] = seed
                for boundary in values[first - border : last - border]:
                    strengths[seed] += (256 - np.int32(boundary)) ** 2  # squared: ties are rarer
        _paint_rims(values, labels, rims, rim, end, border)
    labels[painted:] = BACKGROUND
    return strengths, rims


@kernel
def _paint_rims(values, labels, rims, start, end, border):
    for p in range(start, end):
        boundary = values[p - border]
        labels[p] = -1 - np.int32(boundary)
        rims[boundary] += 1


@kernel
def _flood(labels, strengths, interiors, rims, waves, now, later, stride):
    """Flood the rims from the seeds, lowest relief first, with one queue per level.

    Each pixel is queued once. A pixel that several seeds reach in the same wave goes to the
    strongest of them, so that the result does not depend on the order of visits.
    """
    ends = np.cumsum(rims) - rims
    starts = ends.copy()
    size, wave = 0, 1
    for start, end, seed in interiors:
        if strengths[seed] > 0:
            for p in range(start, end):
                if labels[p - stride] | labels[p - 1] | labels[p + 1] | labels[p + stride] < 0:
                    now[size] = p
                    waves[p] = wave
                    size += 1
    for level in range(256):
        for i in range(starts[level], ends[level]):
            now[size] = later[i]
            size += 1
        current, done = 0, 0
        while done < size:
            p = now[done]
            done += 1
            if waves[p] != current:
                current = waves[p]
                wave += 1
            label = labels[p]
            for q in (p - stride, p - 1, p + 1, p + stride):
                other = labels[q]
                if other < 0:
                    labels[q] = label
                    waves[q] = wave
                    if -1 - other <= level:
                        now[size] = q
                        size += 1
                    else:
                        later[ends[-1 - other]] = q
                        ends[-1 - other] += 1
                elif (
                    other > 0
                    and other != label
                    and waves[q] == wave
                    and strengths[label] > strengths[other]
                ):
                    labels[q] = label
        size = 0
