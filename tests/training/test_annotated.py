"""Data sets and how they are split."""

from __future__ import annotations

from training.annotated import ALLOWED, Dataset, Entry, hold_back


def _entries(source: str, *, groups: int, per_group: int) -> list[Entry]:
    return [
        Entry(f"{group}/{i}", source, str(group), None, (256, 256), lambda: None)
        for group in range(groups)
        for i in range(per_group)
    ]


def test_every_label_allows_nuclei_only() -> None:
    assert all(classes and 0 not in classes for classes in ALLOWED.values())
    assert set(ALLOWED["unlabelled"]) == {1, 2, 3, 4, 5}


def test_hold_back_never_splits_a_group() -> None:
    # Two sets use the same names for their groups.
    data = Dataset(_entries("a", groups=17, per_group=3)) + Dataset(
        _entries("b", groups=8, per_group=5)
    )

    training, validation = hold_back(data)

    assert len(training) + len(validation) == len(data)
    assert sorted(e.source for e in validation.entries) == ["a"] * 6 + ["b"] * 5
    sides = [{(e.source, e.group) for e in side.entries} for side in (training, validation)]
    assert not sides[0] & sides[1]


def test_hold_back_goes_by_names_alone() -> None:
    data = Dataset(_entries("a", groups=17, per_group=3))

    _, validation = hold_back(data)
    _, of_reversed = hold_back(Dataset(data.entries[::-1]))

    assert {e.name for e in validation.entries} == {e.name for e in of_reversed.entries}
