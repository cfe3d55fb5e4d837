"""Label arrays: the states of their pixels.

Labels are flat int32 arrays of (H + 2) x (W + 2) pixels with a border of background, so that access
to neighbours needs no bounds check. The neighbours of the pixel with index p are p - stride, p - 1,
p + 1 and p + stride. Labels themselves are positive; rims, foreground that no nucleus has claimed
yet, are -1 minus their boundary probability (0..255).
"""

from typing import Final

from instances.compile import kernel

BACKGROUND: Final = 0
SHARED: Final = -1  # number of a run whose pixels have several labels


@kernel
def alike(labels, start, end):
    """The end of the stretch of like labels from `start` on, at most `end`."""
    p = start + 1
    while p < end and labels[p] == labels[start]:
        p += 1
    return p
