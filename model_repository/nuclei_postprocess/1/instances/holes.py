"""Fill the holes of nuclei."""

from typing import Final

import numpy as np

from instances.compile import kernel
from instances.measures import AREA, add
from instances.runs import connect

_OPEN: Final = -1  # reaches the edge of the image, or more than one instance


@kernel
def fill_holes(class_probs, labels, tallies, spans, gaps):
    """Fill background enclosed by a single instance, unless it is larger than the instance.

    Parameters
    ----------
    class_probs, labels, tallies, spans
        As in `instances.measures.tally`; labels and tallies are updated.
    gaps
        Memory for `instances.runs`.

    Returns
    -------
    int32 [n, 3]
        The runs that were filled.
    """
    height, width = class_probs.shape[:2]
    stride = width + 2
    gaps = gaps[: _find_gaps(spans, gaps, height, stride)]
    connect(gaps, stride)

    owners = np.zeros(len(gaps), np.int32)
    for start, end, first in gaps:
        if owners[first] != _OPEN and (
            start % stride == 1
            or end % stride == width + 1
            or start < 2 * stride
            or start > height * stride
        ):
            owners[first] = _OPEN
    sizes = np.zeros(len(gaps), np.int32)
    for start, end, first in gaps:
        if owners[first] != _OPEN:
            sizes[first] += end - start
            owners[first] = _owner(labels, start, end, owners[first], stride)
    count = 0
    for start, end, first in gaps:
        owner = owners[first]
        if owner > 0 and sizes[first] <= tallies[owner, AREA]:
            gaps[count] = start, end, owner
            count += 1
    holes = gaps[:count]
    for start, end, owner in holes:
        labels[start:end] = owner
        add(tallies[owner], class_probs.reshape(-1), start, end, stride)
    return holes


@kernel
def _find_gaps(spans, gaps, height, stride):
    """Write the runs between the spans to `gaps`; return their number."""
    count, i = 0, 0
    for y in range(height):
        p, end = (y + 1) * stride + 1, (y + 2) * stride - 1
        while i < len(spans) and spans[i, 0] < end:
            if spans[i, 0] > p:
                gaps[count, 0], gaps[count, 1] = p, spans[i, 0]
                count += 1
            p = spans[i, 1]
            i += 1
        if p < end:
            gaps[count, 0], gaps[count, 1] = p, end
            count += 1
    return count


@kernel
def _owner(labels, start, end, owner, stride):
    """The label around a run, if it is `owner` or `owner` is 0; else `_OPEN`."""
    for p in range(start, end):
        for q in (p - stride, p - 1, p + 1, p + stride):
            other = labels[q]
            if other > 0 and other != owner:
                if owner != 0:
                    return _OPEN
                owner = other
    return owner
