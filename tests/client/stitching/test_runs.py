"""Runs say of many masks at once what their pixels say of each."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tsfd_client.stitching.join import components
from tsfd_client.stitching.outline import solid_piece
from tsfd_client.stitching.runs import runs_of
from tsfd_client.stitching.versions import Version

_MASKS = st.lists(nps.arrays(bool, st.tuples(*[st.integers(0, 6)] * 2), elements=st.booleans()))


@given(masks=_MASKS)
@settings(deadline=None)
def test_runs_give_the_masks_back(masks: list[np.ndarray]) -> None:
    runs = runs_of(masks)

    drawn = [np.zeros(mask.shape, int) for mask in masks]
    for mask, row, begin, end in zip(runs.mask, runs.row, runs.begin, runs.end, strict=True):
        drawn[mask][row, begin:end] += 1
    assert all(np.array_equal(a, b) for a, b in zip(drawn, masks, strict=True))


@given(masks=_MASKS)
@settings(deadline=None)
def test_plain_masks_that_fill_their_box_are_solid(masks: list[np.ndarray]) -> None:
    runs = runs_of(masks)

    for mask, is_whole in zip(masks, runs.plain() & runs.wide(), strict=True):
        if is_whole:
            y, x, piece = solid_piece(mask)
            assert (y, x) == (0, 0)
            assert np.array_equal(piece, mask)
        elif mask.any():
            rows_of_one_run = (np.diff(mask, axis=1, prepend=False) & mask).sum(axis=1) == 1
            _, _, piece = solid_piece(mask)
            assert not (np.array_equal(piece, mask) and rows_of_one_run.all())


@given(
    places=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
    masks=st.lists(
        nps.arrays(bool, st.tuples(*[st.integers(1, 5)] * 2), elements=st.booleans()),
        min_size=8,
        max_size=8,
    ),
)
@settings(deadline=None)
def test_components_share_pixels(places: list[tuple[int, int]], masks: list[np.ndarray]) -> None:
    found = [
        Version((0, 0), number, y, x, mask, 9, 1, 1.0)
        for number, ((y, x), mask) in enumerate(zip(places, masks, strict=False))
    ]
    pixels = [{(y + v.y, x + v.x) for y, x in np.argwhere(v.mask).tolist()} for v in found]
    groups = [{number} for number in range(len(found))]
    for i, j in combinations(range(len(found)), 2):
        if pixels[i] & pixels[j]:
            one, other = (next(g for g in groups if n in g) for n in (i, j))
            if one is not other:
                groups.remove(other)
                one |= other

    joined = components(found)

    assert sorted(map(sorted, groups)) == sorted(sorted(v.number for v in c) for c in joined)
    firsts = [component[0].number for component in joined]
    assert firsts == sorted(firsts)
