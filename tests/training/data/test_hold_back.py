"""What is held back of a data set."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from training.data.annotated import Dataset, Entry
from training.data.check import check_manifest
from training.data.hold_back import LIST, Split, hold_back

SHARED = Path(__file__).parents[4] / "shared" / "data"


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


def _sides(split: Split) -> dict[str, set[tuple[str, str]]]:
    return {
        part: {(entry.source, entry.group) for entry in getattr(split, part).entries}
        for part in ("training", "choosing", "reporting")
    }


def test_a_named_set_is_split_as_listed() -> None:
    groups = ("train_1", "train_14", "train_2", "train_3", "other")
    named = [Entry(g, "consep", g, None, (256, 256), lambda: None) for g in groups]
    patients = ("10", "13", "15")
    named += [
        Entry(p, "lizard_glas", f"glas_patient_{p}", None, (256, 256), lambda: None)
        for p in patients
    ]
    unnamed = _entries("elsewhere", groups=17, per_group=3)

    sides = _sides(hold_back(Dataset([*named, *unnamed])))

    # train_14 may be of the slide of train_1: it is set aside.
    assert sides["reporting"] >= {("consep", "train_1"), ("lizard_glas", "glas_patient_13")}
    assert sides["choosing"] >= {("lizard_glas", "glas_patient_15")}
    assert sides["training"] >= {
        *(("consep", group) for group in ("train_2", "train_3", "other")),
        ("lizard_glas", "glas_patient_10"),
    }
    assert ("consep", "train_14") not in set.union(*sides.values())
    alone = _sides(hold_back(Dataset(unnamed)))
    for part, found in sides.items():
        assert {group for group in found if group[0] == "elsewhere"} == alone[part]


def test_the_list_names_each_group_once() -> None:
    for source, held in tomllib.loads(LIST.read_text()).items():
        assert set(held) <= {"choosing", "reporting", "aside"}, source
        groups = [group for names in held.values() for group in names]
        assert len(groups) == len(set(groups)), source


@pytest.fixture(scope="module")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("no shared data beside the repository")
    return SHARED


def test_no_field_of_the_data_is_divided(shared: Path) -> None:
    _, problems = check_manifest(shared)

    assert [problem for problem in problems if "tiles of one field" in problem] == []


def test_the_list_fits_the_data(shared: Path) -> None:
    rows = json.loads((shared / "manifest.json").read_text())
    listed = tomllib.loads(LIST.read_text())
    shape = (256, 256)
    data = Dataset(
        Entry(row["image"], row["set"], row["group"], None, shape, lambda: None)
        for row in rows
        if row["split"] == "train"
    )

    sides = _sides(hold_back(data))

    assert set(listed) == {entry.source for entry in data.entries}
    known = {(entry.source, entry.group) for entry in data.entries}
    aside = {(s, group) for s, held in listed.items() for group in held.get("aside", ())}
    named = {
        (s, group) for s, held in listed.items() for groups in held.values() for group in groups
    }
    assert named <= known
    # Every group is on one side; what is set aside is on none.
    assert sum(map(len, sides.values())) == len(known) - len(aside)
    assert set.union(*sides.values()) == known - aside
    # A patient of The Cancer Genome Atlas has one name, with its project before it or not.
    of_patient: dict[str, set[str]] = {}
    tested = {("test", row["group"]) for row in rows if row["split"] == "test"}
    for part, (_, group) in [(p, g) for p, found in sides.items() for g in found] + [
        (side, ("", group)) for side, group in tested
    ]:
        of_patient.setdefault(group.removeprefix("TCGA-"), set()).add(part)
    assert {p: found for p, found in of_patient.items() if len(found) > 1} == {}
    assert of_patient["G9-6356"] == {"training"}
    grades = {
        part: {
            "healthy" if row["grade"] == "healthy" else "malignant"
            for row in rows
            if ("lizard_glas", row["group"]) in found and row["set"] == "lizard_glas"
            if row["grade"] != "adenomatous"
        }
        for part, found in sides.items()
    }
    assert all(found == {"healthy", "malignant"} for found in grades.values())
