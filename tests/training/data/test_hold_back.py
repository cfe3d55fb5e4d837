"""What is held back of a data set."""

from __future__ import annotations

from training.data.annotated import Dataset, Entry
from training.data.hold_back import hold_back


def _entries(
    source: str, *, groups: int, per_group: int, classes: frozenset[int] = frozenset()
) -> list[Entry]:
    return [
        Entry(f"{group}/{i}", source, str(group), None, (256, 256), lambda: None, classes=classes)
        for group in range(groups)
        for i in range(per_group)
    ]


def test_an_eighth_of_the_groups_is_held_back_and_none_is_split() -> None:
    # Two sets use the same names for their groups.
    data = Dataset(_entries("a", groups=17, per_group=3)) + Dataset(
        _entries("b", groups=8, per_group=5)
    )

    split = hold_back(data)

    assert len(split.training) + len(split.held_back) == len(data)
    assert sorted(e.source for e in split.held_back.entries) == ["a"] * 6 + ["b"] * 5
    assert [len(part) for part in (split.choosing, split.reporting)] == [3, 8]
    parts = [
        {(e.source, e.group) for e in part.entries}
        for part in (split.training, split.choosing, split.reporting)
    ]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_what_is_held_back_goes_by_names_alone() -> None:
    data = Dataset(_entries("a", groups=17, per_group=3))

    split = hold_back(data)
    of_reversed = hold_back(Dataset(data.entries[::-1]))

    for part in ("training", "choosing", "reporting"):
        names = {e.name for e in getattr(split, part).entries}
        assert names == {e.name for e in getattr(of_reversed, part).entries}


def test_a_class_that_three_groups_hold_is_reported_on() -> None:
    without = Dataset(_entries("a", groups=16, per_group=1))
    held = {e.group for e in hold_back(without).held_back.entries}
    rare = [e.group for e in without.entries if e.group not in held][:3]

    def labelled(groups: list[str]) -> Dataset:
        one = frozenset({5})
        return Dataset(
            Entry(e.name, e.source, e.group, None, e.shape, e.load, classes=one)
            if e.group in groups
            else e
            for e in without.entries
        )

    reported = {e.group for e in hold_back(labelled(rare)).reporting.entries}
    assert len(reported & set(rare)) == 1
    # Two groups alone would leave one to learn from.
    assert not {e.group for e in hold_back(labelled(rare[:2])).held_back.entries} & set(rare)


def test_where_slides_are_unknown_neighbours_do_not_part() -> None:
    data = Dataset(_entries("a", groups=450, per_group=1))

    split = hold_back(data)

    where = {
        int(entry.group): part
        for part in ("training", "choosing", "reporting")
        for entry in getattr(split, part).entries
    }
    for image, part in where.items():
        if part == "training":
            near = [where.get(image + step) for step in range(-4, 5)]
            assert not {"choosing", "reporting"} & set(near)
    assert [len(part) for part in (split.reporting, split.choosing)] == [75, 54]
    assert len(split.training) == 301
