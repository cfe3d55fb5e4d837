"""The picture of a slide: densities on one scale, and what the colours mean."""

from __future__ import annotations

import numpy as np
import pytest
from releases import FIVE

from tsfd_client.nuclei.overview import Overview
from tsfd_client.pixels.artifacts import COLOURS, Artifact

SIDE = 720  # of a panel's picture and of the slide
COLUMN = SIDE + 12  # pitch of the panels


@pytest.fixture(scope="module")
def panels() -> dict[str, np.ndarray]:
    """Of a slide of 1.44 mm²; on its left half is tissue, 2,000 neoplastic and one dead nucleus."""
    tissue = np.zeros((90, 90), bool)
    tissue[:, :45] = True
    overview = Overview(np.full((90, 90, 3), 200, np.uint8), tissue, [], 7200, 7200, FIVE)
    x, y = np.random.default_rng(0).uniform((0, 0), (3600, 7200), (2000, 2)).T
    overview.add(np.ones(2000, int), x, y)
    overview.add(np.array([FIVE.class_names.index("dead")]), np.array([1800.0]), np.array([3600.0]))
    picture = overview.draw(0.72, 1.44)
    rows = np.split(picture, 2)
    parts = [row[:, COLUMN * column : COLUMN * (column + 1)] for row in rows for column in range(3)]
    return dict(zip(("slide", *FIVE.class_names[1:]), parts, strict=True))


def ink(panel: np.ndarray, name: str) -> np.ndarray:
    """How much of its colour is where, 0 to 1, without its title and legend."""
    picture = panel[30 : 30 + SIDE, :SIDE].astype(float)
    paper = 255 - 0.25 * (255 - 200)
    colour = np.array(FIVE.colours[name], float)
    mixed: np.ndarray = ((paper - picture) @ (paper - colour)) / ((paper - colour) ** 2).sum()
    return mixed


def test_all_classes_have_one_scale(panels: dict[str, np.ndarray]) -> None:
    dense, single = ink(panels["neoplastic"], "neoplastic"), ink(panels["dead"], "dead")
    assert dense[:, :360].mean() > 0.45
    assert single[360, 180] > 0.05
    assert single.max() < 0.3
    for drawn in (dense, single):
        assert abs(drawn[:, 372:]).max() < 0.02, "glass"


def test_beside_glass_tissue_is_not_the_paler(panels: dict[str, np.ndarray]) -> None:
    dense = ink(panels["neoplastic"], "neoplastic")
    assert dense[:, 340:354].mean() == pytest.approx(dense[:, 100:300].mean(), abs=0.1)


def test_a_legend_says_what_the_colours_mean(panels: dict[str, np.ndarray]) -> None:
    legends = {name: panel[30 + SIDE :] for name, panel in panels.items() if name in FIVE.colours}
    for name, legend in legends.items():
        row = legend[10, 3:160]
        assert np.abs(row[-1].astype(int) - FIVE.colours[name]).max() < 12
        assert (row[0] > 215).all()
        # Numbers and unit are the same for all.
        assert np.array_equal(legend[20:], legends["dead"][20:])
        assert (legend[20:] < 100).any()


@pytest.mark.parametrize("left_out", ["pen", None])
def test_artifacts_are_outlined_and_named(left_out: str | None) -> None:
    mask = np.zeros((90, 90), bool)
    mask[30:60, 30:60] = True
    artifacts = [Artifact(kind, mask, is_left_out=kind == left_out) for kind in COLOURS]
    bare, drawn = (
        Overview(np.full((90, 90, 3), 200, np.uint8), ~mask, found, 7200, 7200, FIVE).draw(1, 1)
        for found in ([], artifacts)
    )
    changed = (bare != drawn).any(axis=2)
    picture, legend = changed[30 : 30 + SIDE, :SIDE], changed[30 + SIDE : 68 + SIDE, :COLUMN]
    assert picture[230:250].any()
    within = drawn[30 : 30 + SIDE, :SIDE][260:460, 260:460]
    assert (within == (228 if left_out else 200)).all(), "pale, or as it was"
    for colour in COLOURS.values():
        assert (drawn[30 + SIDE : 68 + SIDE, :COLUMN] == colour).all(axis=2).sum() > 100
    assert legend[:18].any()
    assert legend[18:].any()
    assert not changed[:, COLUMN:].any(), "other panels"
