"""Runs: stretches of like pixels in a row, which stand for many pixels at once.

A run is a row of an int32 array [n, 3] in raster order: the half-open range of pixel indices, in
the flat arrays that `instances.labels` describes, and a number of its own.
"""

from instances.compile import kernel


@kernel
def connect(runs, stride):
    """Find the 4-connected components of runs: their number becomes the component's first run.

    Runs of neighbouring rows are connected if they share a column.
    """
    above = 0
    for i in range(len(runs)):
        runs[i, 2] = i
        while runs[above, 1] + stride <= runs[i, 0]:
            above += 1
        j = above
        while runs[j, 0] + stride < runs[i, 1]:
            _unite(runs, i, j)
            j += 1
    for i in range(len(runs)):  # a component's first run comes before the others
        runs[i, 2] = runs[runs[i, 2], 2]


@kernel
def _unite(runs, i, j):
    first, second = _root(runs, i), _root(runs, j)
    if first != second:
        runs[max(first, second), 2] = min(first, second)


@kernel
def _root(runs, i):
    while runs[i, 2] != i:
        runs[i, 2] = runs[runs[i, 2], 2]
        i = runs[i, 2]
    return i
