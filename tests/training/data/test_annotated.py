"""What labels stand for, and when two data sets are the same."""

from __future__ import annotations

from dataclasses import replace

from training.data.annotated import ALLOWED, Dataset, Entry, fingerprints


def test_every_label_allows_nuclei_only() -> None:
    assert all(classes and 0 not in classes for classes in ALLOWED.values())
    assert set(ALLOWED["unlabelled"]) == {1, 2, 3, 4, 5}


def test_fingerprints_tell_changed_data_from_the_same() -> None:
    entry = Entry("1.png", "a", "1", None, (256, 256), lambda: None, checksum=7)
    other = Entry("1.png", "b", "1", None, (256, 256), lambda: None)
    before = fingerprints(Dataset([entry, other]))

    assert fingerprints(Dataset([entry, other])) == before
    relabelled = fingerprints(Dataset([replace(entry, checksum=8), other]))
    assert relabelled["a"] != before["a"]
    assert relabelled["b"] == before["b"]
    assert before["a"].startswith("1 images, ")
