"""Marker-controlled watershed on the boundary probability."""

from typing import Final

import numpy as np

from instances.compile import kernel
from instances.labels import BACKGROUND
from instances.runs import connect

_MIN_SEED_AREA: Final = 6  # smaller interiors are gaps in a blurred boundary, not nuclei


@kernel
def watershed(
    class_probs, boundary_prob, foreground_level, boundary_level, labels, links, spans, interiors
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
    links
        int32 [(H + 2) * (W + 2), 2], for intermediate results.
    spans
        Memory for `instances.runs`; receives the runs of foreground.
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
    levels = foreground_level, boundary_level
    span_count, interior_count, rims = _find_runs(
        class_probs, boundary_prob, levels, labels, spans, interiors
    )
    spans, interiors = spans[:span_count], interiors[:interior_count]
    strengths, gaps = _seed(boundary_prob, labels, interiors, stride)
    claimed = _grow(labels, strengths, spans, interiors, links, stride)
    count = strengths.size - 1
    if claimed < rims + gaps:  # foreground that no seed has reached
        for p in range(stride, labels.size - stride):
            if labels[p] < 0:
                count += 1
                _flood(labels, links, p, count, stride)
    return count, span_count


@kernel
def _find_runs(class_probs, boundary_prob, levels, labels, spans, interiors):
    """Find the runs of foreground and of interior, and label the rims."""
    foreground_level, boundary_level = levels
    height, width = boundary_prob.shape
    labels[:] = BACKGROUND
    span_count, interior_count, rims = 0, 0, 0
    for y in range(height):
        p = (y + 1) * (width + 2)
        in_span, in_interior = False, False
        for x in range(width):
            p += 1
            if 255 - class_probs[y, x, 0] <= foreground_level:
                if in_span:
                    in_span = False
                    spans[span_count, 1] = p
                    span_count += 1
                    if in_interior:
                        in_interior = False
                        interiors[interior_count, 1] = p
                        interior_count += 1
                continue
            if not in_span:
                in_span = True
                spans[span_count, 0] = p
            boundary = boundary_prob[y, x]
            if boundary > boundary_level:
                labels[p] = -1 - np.int32(boundary)
                rims += 1
                if in_interior:
                    in_interior = False
                    interiors[interior_count, 1] = p
                    interior_count += 1
            elif not in_interior:
                in_interior = True
                interiors[interior_count, 0] = p
        if in_span:
            spans[span_count, 1] = p + 1
            span_count += 1
        if in_interior:
            interiors[interior_count, 1] = p + 1
            interior_count += 1
    return span_count, interior_count, rims


@kernel
def _seed(boundary_prob, labels, interiors, stride):
    """Label the interiors 1..n; those too small become rims.

    Returns strengths [n + 1], which decide where two meet, and the number of new rim pixels.
    """
    connect(interiors, stride)
    sizes = np.zeros(len(interiors), np.int32)
    for start, end, first in interiors:
        sizes[first] += end - start
    strengths = np.zeros(len(interiors) + 1, np.int64)
    count, gaps = 0, 0
    for i in range(len(interiors)):
        start, end, first = interiors[i]
        if first == i:  # from here on its label instead of its size
            if sizes[i] < _MIN_SEED_AREA:
                sizes[i] = 0
            else:
                count += 1
                sizes[i] = count
        label = sizes[first]
        y, x = start // stride - 1, start % stride - 1
        for p in range(start, end):
            boundary = np.int32(boundary_prob[y, x])
            if label == 0:
                labels[p] = -1 - boundary
                gaps += 1
            else:
                labels[p] = label
                strengths[label] += (256 - boundary) ** 2  # squared to make ties rarer
            x += 1
    return strengths[: count + 1], gaps


@kernel
def _grow(labels, strengths, spans, interiors, links, stride):
    """Flood the rims from the seeds, one component of the foreground after another.

    Components do not influence each other, and a small one stays in the processor's cache. Returns
    the number of rim pixels that seeds have reached.
    """
    connect(spans, stride)
    heads = np.full(len(spans), -1, np.int32)  # of lists of the components' interiors
    nexts = np.empty(len(interiors), np.int32)
    span = len(spans) - 1
    for i in range(len(interiors) - 1, -1, -1):
        while spans[span, 0] > interiors[i, 0]:
            span -= 1
        nexts[i] = heads[spans[span, 2]]
        heads[spans[span, 2]] = i
    first = np.full(256, -1, np.int32)
    last = np.empty(256, np.int32)
    claimed = 0
    for head in heads:
        highest = _begin(labels, interiors, head, nexts, links, first, last, stride)
        claimed += _flood_rims(labels, strengths, links, first, last, highest, stride)
    return claimed


@kernel
def _begin(labels, interiors, head, nexts, links, first, last, stride):
    """Queue the pixels of a list of interiors that touch rims; return their level, or -1."""
    i, highest = head, -1
    while i >= 0:
        start, end = interiors[i, 0], interiors[i, 1]
        if labels[start] > 0:
            for p in range(start, end):
                if (
                    labels[p - stride] < 0
                    or labels[p + stride] < 0
                    or (p == start and labels[p - 1] < 0)
                    or (p == end - 1 and labels[p + 1] < 0)
                ):
                    _append(p, 0, 1, links, first, last)
                    highest = 0
        i = nexts[i]
    return highest


@kernel
def _flood_rims(labels, strengths, links, first, last, highest, stride):
    """Flood from the queued pixels, lowest relief first, with one queue per level.

    Each pixel is queued once. A pixel that several seeds reach in the same wave goes to the
    strongest of them, so that the result does not depend on the order of visits.
    """
    wave, claimed, level = 1, 0, 0
    while level <= highest:
        current = 0
        p = first[level]
        while p >= 0:
            if links[p, 1] != current:
                current = links[p, 1]
                wave += 1
            label = labels[p]
            for q in (p - stride, p - 1, p + 1, p + stride):
                other = labels[q]
                if other < 0:
                    labels[q] = label
                    claimed += 1
                    reached = max(level, -1 - other)
                    highest = max(highest, reached)
                    _append(q, reached, wave, links, first, last)
                elif (
                    other > 0
                    and other != label
                    and links[q, 1] == wave
                    and strengths[label] > strengths[other]
                ):
                    labels[q] = label
            p = links[p, 0]
        first[level] = -1
        level += 1
    return claimed


@kernel
def _append(p, level, wave, links, first, last):
    """Append a pixel to the queue of its level, a linked list."""
    links[p, 0] = -1
    links[p, 1] = wave
    if first[level] < 0:
        first[level] = p
    else:
        links[last[level], 0] = p
    last[level] = p


@kernel
def _flood(labels, links, start, label, stride):
    """Label the 4-connected component of rims that `start` belongs to."""
    labels[start] = label
    links[0, 0] = start
    size, done = 1, 0
    while done < size:
        p = links[done, 0]
        done += 1
        for q in (p - stride, p - 1, p + 1, p + stride):
            if labels[q] < 0:
                labels[q] = label
                links[size, 0] = q
                size += 1
