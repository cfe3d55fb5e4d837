"""Examples of classes without marks: where they lie, and that they are no marks."""

from __future__ import annotations

import numpy as np

from tsfd_client.classes.examples import examples_of
from tsfd_client.classes.marked import MarkedNuclei

NETWORK = ("neoplastic", "connective", "dead")


def nuclei(shares: list[float], slides: list[str], side: float = 1000) -> MarkedNuclei:
    """Nuclei of which the network says with these shares that they are connective."""
    number = len(shares)
    return MarkedNuclei(
        np.arange(number, dtype=np.float32)[:, None],
        np.column_stack([1 - np.array(shares), shares, np.zeros(number)]),
        np.zeros(number, np.int64),
        np.array(slides),
        np.random.default_rng(0).uniform(0, side, (number, 2)),
    )


def test_examples_lie_where_their_nuclei_are_on_all_slides_alike() -> None:
    shares = np.linspace(0.99, 0.81, 300).tolist()
    around = nuclei(shares, ["first"] * 200 + ["second"] * 60 + ["third"] * 40)
    examples = examples_of(around, np.arange(300), ["connective", "dead"], NETWORK)
    assert [*examples] == ["connective"]
    found = examples["connective"]
    assert len(found) == 30
    assert np.unique(found.slides, return_counts=True)[1].tolist() == [10, 10, 10]
    rows = found.features[:, 0].astype(int)
    np.testing.assert_array_equal(found.places, around.places[rows])
    np.testing.assert_array_equal(found.slides, around.slides[rows])
    # Of parts of the slide, too, instead of one corner.
    first = found.places[found.slides == "first"]
    assert len(np.unique(np.floor(first / 125), axis=0)) == 10


def test_no_marked_nucleus_is_an_example_and_none_that_is_unsure() -> None:
    around = nuclei([0.99] * 40 + [0.85] * 8 + [0.7] * 90, ["only"] * 138)
    free = np.arange(40, 138)
    found = examples_of(around, free, ["connective"], NETWORK)["connective"]
    assert sorted(found.features[:, 0]) == list(range(40, 48))


def test_a_class_that_is_found_on_one_of_two_slides_has_no_examples() -> None:
    """It would count as a class that nobody can recognise on another slide."""
    around = nuclei([0.99] * 40 + [0.2] * 40, ["first"] * 40 + ["second"] * 40)
    assert examples_of(around, np.arange(80), ["connective"], NETWORK) == {}
    assert examples_of(around[np.arange(40)], np.arange(40), ["connective"], NETWORK)
    assert examples_of(around, np.arange(40, 44), ["connective", "dead"], NETWORK) == {}
