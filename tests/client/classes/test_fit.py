"""Classes are learned where features say them, and the network is left alone where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from marked_fields import BASE, FIVE, World, each, kept, own

from tsfd_client.classes.fit import learn
from tsfd_client.classes.head import log_shares, prior, softmax
from tsfd_client.classes.logistic import basis, shared_out, solve
from tsfd_client.classes.marked import MarkedNuclei, groups
from tsfd_client.classes.scores import f1
from tsfd_client.classes.validation import STRENGTHS, cross_validate, folds
from tsfd_client.errors import TsfdError


def mean_f1(labels: np.ndarray, probs: np.ndarray) -> float:
    ones = np.ones(len(labels))
    return float(f1(labels, probs.argmax(axis=1), probs.shape[1], ones).mean())


def test_what_the_features_say_is_learned() -> None:
    world = World(5, signal=4)
    lesson = learn(world.marked(each(5, 20)), world.around([1] * 5), FIVE, BASE)

    assert lesson.head is not None
    new = world.marked(each(5, 200))
    assert mean_f1(new.labels, lesson.head.predict(new.features, new.shares)) > 0.75
    assert lesson.judgement.before.mean.value < 0.4
    assert lesson.judgement.after.mean.value > 0.7
    assert lesson.verdict.startswith("Better than the network on slides left out: mean F1")
    assert lesson.judgement.confusion.sum() == 100
    assert lesson.head.base == "lite 3"


def test_own_classes_refine_and_add_to_those_of_the_network() -> None:
    kinds = own("inflammatory", "inflammatory", None, "connective")
    world = World(4, signal=4)
    of_network = np.array([1, 1, 4, 2])
    labels = each(4, 30)
    marked = world.marked(labels, knows=0.8, truth=of_network[labels])
    lesson = learn(marked, world.around([1] * 4), kinds, BASE)

    assert lesson.head is not None
    assert lesson.head.parents.tolist() == [1, 1, -1, 2]
    assert lesson.judgement.after.mean.value > 0.75


@pytest.mark.parametrize("number", [10, 100])
def test_noise_is_refused_with_its_figures(number: int) -> None:
    world = World(5, signal=0)
    lesson = learn(
        world.marked(each(5, number), knows=0.7), world.around([1] * 5, knows=0.7), FIVE, BASE
    )

    assert lesson.head is None
    before = f"{lesson.judgement.before.mean.value:.2f}"
    assert f"(mean F1 {before} before, " in lesson.verdict
    assert lesson.verdict.endswith("the network is left as it is.")


def test_what_tells_slides_apart_does_not_count_as_learned() -> None:
    # Every slide has its own look and mostly one class: within slides, marks are easy to predict.
    world = World(2, signal=0)
    labels = np.concatenate([each(2, 20), 1 - each(2, 1)])
    slides = np.array(["a"] * 20 + ["b"] * 20 + ["a", "b"])
    number = np.where(slides == "a", 0, 1)
    marked = world.marked(labels)
    told_apart = MarkedNuclei(
        world.features(labels, number, slide_effect=5),
        marked.shares,
        labels,
        slides,
        marked.places,
    )
    lesson = learn(told_apart, world.around([1, 1]), own("neoplastic", "connective"), BASE)

    assert lesson.judgement.groups.kind == "slides"
    assert lesson.head is None


def marked_on_one_slide_of_several(world: World, truth: list[int]) -> MarkedNuclei:
    """Three classes, the last of them on one slide only; `truth` is what the network says."""
    labels = each(3, 30)
    marked = world.marked(labels, knows=0.8, truth=np.array(truth)[labels])
    marked.slides[labels == 2] = "slide 0"
    return marked


def test_classes_marked_on_one_slide_of_several_stay_as_the_network_finds_them() -> None:
    world = World(3, signal=4)
    marked = marked_on_one_slide_of_several(world, [0, 2, 3])
    kinds = own("neoplastic", "connective", "dead")
    lesson = learn(marked, world.around([1] * 3), kinds, BASE)

    assert lesson.head is not None
    assert lesson.head.weights[:, :2].any()
    assert not lesson.head.weights[:, 2].any()
    assert not lesson.head.mix[:, 2].any()
    assert lesson.head.bias[2] == 0
    assert "As 'class 2' was marked on one slide only, the network decides" in lesson.verdict

    marked.slides[:] = "slide 0"
    lesson = learn(marked, world.around([1] * 3), kinds, BASE)
    assert lesson.head is not None
    assert lesson.head.weights[:, 2].any()
    assert "on regions left out" in lesson.verdict


def test_classes_without_marks_stay_exactly_as_the_network_finds_them() -> None:
    """However sure the head is of its own: it shares out only what the network gives to others."""
    world = World(4, signal=6)
    of_network = np.array([1, 1, 2, 0])
    labels = each(2, 40)
    marked = world.marked(labels, knows=0.9, truth=of_network[labels])
    everywhere = each(4, 500)
    around = world.marked(everywhere, knows=0.9, truth=of_network[everywhere])
    classes = (*own("inflammatory", "inflammatory"), *kept("connective", "neoplastic"))
    lesson = learn(marked, around, classes, BASE)

    assert lesson.head is not None
    assert lesson.judgement.after.mean.value > 0.85
    assert lesson.marks.tolist() == [40, 40, 0, 0]
    probs = lesson.head.predict(around.features, around.shares)
    network = np.exp(log_shares(around.shares))
    np.testing.assert_allclose(probs[:, 2:], network[:, [2, 0]])
    np.testing.assert_allclose(probs.sum(axis=1), 1)


def test_such_classes_count_as_lost_if_the_network_does_not_know_them() -> None:
    world = World(3, signal=4)
    marked = marked_on_one_slide_of_several(world, [0, 2, 2])
    kinds = own("neoplastic", "connective", "connective")
    lesson = learn(marked, world.around([1] * 3), kinds, BASE)

    assert lesson.head is None
    assert "as 'class 2' was marked on one slide only" in lesson.verdict


def test_ten_marks_do_not_vouch_for_a_class_that_nearly_all_nuclei_are_of() -> None:
    # The network calls everything by its commonest class; features tell the others apart in part.
    world = World(3, signal=2.5)
    kinds, odds = own("neoplastic", "inflammatory", "connective"), [96.0, 2.0, 2.0]
    lessons = []
    for number in (10, 300):
        labels = each(3, number)
        around = world.rng.choice(3, 3000, p=np.array(odds) / sum(odds))
        lessons.append(
            learn(
                world.marked(labels, slides=20, knows=0.95, truth=np.zeros_like(labels)),
                world.marked(around, knows=0.95, truth=np.zeros_like(around)),
                kinds,
                BASE,
            )
        )

    few, many = lessons
    assert few.head is None
    assert many.head is not None


def test_a_network_that_exchanges_classes_is_put_right_by_few_marks() -> None:
    # The features say nothing; that the answers are exchanged is all there is to learn.
    world = World(3, signal=0)
    labels = each(3, 10)
    exchanged = np.array([2, 1, 0])
    marked = world.marked(labels, knows=0.95, truth=exchanged[labels])
    around = each(3, 500)
    lesson = learn(
        marked,
        world.marked(around, knows=0.95, truth=exchanged[around]),
        own("neoplastic", "inflammatory", "connective"),
        BASE,
    )

    assert lesson.head is not None
    new = world.marked(each(3, 200), knows=0.95, truth=exchanged[each(3, 200)])
    right = lesson.head.predict(new.features, new.shares).argmax(axis=1) == new.labels
    assert right.mean() > 0.85


def test_a_slide_is_predicted_without_its_marks() -> None:
    world = World(3, signal=3)
    marked = world.marked(each(3, 20), slides=3)
    around, parents = world.around([1] * 3), np.array([0, 1, 2])
    apart = groups(marked)
    honest = cross_validate(marked, around, apart, parents).heads
    for slide in range(3):
        wrong = np.where(apart.of == slide, (marked.labels + 1) % 3, marked.labels)
        lied_to = MarkedNuclei(marked.features, marked.shares, wrong, marked.slides, marked.places)
        heads = cross_validate(lied_to, around, apart, parents).heads

        on = apart.of == slide
        np.testing.assert_allclose(heads[:, on], honest[:, on], atol=1e-6)
        assert not np.allclose(heads[:, ~on], honest[:, ~on], atol=1e-2)


def test_one_slide_is_divided_into_regions() -> None:
    world = World(2, signal=3)
    marked = world.marked(each(2, 50), slides=1)
    apart = groups(marked)

    assert apart.kind == "regions"
    assert apart.number > 8
    for region in range(apart.number):
        assert np.ptp(marked.places[apart.of == region], axis=0).max() <= 250


def test_every_mark_is_left_out_once() -> None:
    world = World(3, signal=3)
    marked = world.marked(each(3, 40), slides=7)
    left_out = np.stack(list(folds(marked.labels, groups(marked))))

    assert (left_out.sum(axis=0) == 1).all()
    for out in left_out:
        assert set(marked.slides[out]).isdisjoint(marked.slides[~out])
        assert marked[out].counts(3).all()


def test_rare_classes_do_not_become_common_because_they_are_marked() -> None:
    # As many marks of a class that is one nucleus in fifty; features tell the two apart in part.
    parents = np.array([2, 3])
    world = World(2, signal=2)
    around = world.around([49, 1])
    marked = world.marked(each(2, 200))
    found = solve(marked, around, parents, STRENGTHS)[-1]

    said = found.logits(around).argmax(axis=1)
    assert 0.002 < said.mean() < 0.1


def test_without_a_change_the_network_speaks() -> None:
    world = World(3, signal=2)
    parents = np.array([1, 1, 0])
    counts = np.array([30, 10, 20])
    marked = world.marked(np.repeat([0, 1, 2], counts), knows=0.9)
    found = solve(marked, world.around([1] * 3), parents, (1e12,))[0]

    probs = softmax(found.logits(marked))
    network = softmax(prior(marked.shares, np.array([1, 0])))
    np.testing.assert_allclose(probs[:, :2].sum(axis=1), network[:, 0], atol=1e-6)
    np.testing.assert_allclose(probs[:, 0], 3 * probs[:, 1], rtol=1e-6)


def test_new_classes_start_at_their_share_of_the_marks() -> None:
    bias = shared_out(np.array([30, 10]), np.array([0, -1]), 5)
    sure = prior(np.eye(5)[:1], np.array([0, -1]))

    np.testing.assert_allclose(softmax(sure + bias)[0], [0.75, 0.25], atol=1e-3)


def test_weights_of_raw_features_say_what_was_fitted() -> None:
    world = World(5, signal=3)
    marked, around = world.marked(each(5, 30)), world.around([1] * 5)
    lesson = learn(marked, around, FIVE, BASE)
    assert lesson.head is not None

    frame = basis(marked.features)
    exact = softmax(solve(marked, around, np.arange(5), lesson.judgement.path)[-1].logits(marked))
    np.testing.assert_allclose(
        lesson.head.predict(marked.features, marked.shares), exact, atol=1e-5
    )
    assert frame.axes[-1].any() == np.False_  # what never varies has no weight
    assert not lesson.head.weights[-1].any()


def test_thirty_classes_are_learned() -> None:
    world = World(30, signal=6)
    lesson = learn(world.marked(each(30, 12)), world.around([1] * 30), own(*[None] * 30), BASE)

    assert lesson.head is not None
    assert lesson.judgement.after.mean.value > 0.6


def test_more_marks_are_worth_most_where_they_are_few() -> None:
    world = World(3, signal=2)
    labels = np.repeat([0, 1, 2], [400, 400, 40])
    lesson = learn(world.marked(labels), world.around([10, 10, 1]), own(*[None] * 3), BASE)

    assert [point.marks.sum() for point in lesson.curve] == [105, 210, 420, 840]
    assert lesson.curve[-1].mean == pytest.approx(lesson.judgement.after.mean.value)
    assert lesson.worth.argmax() == 2


@pytest.mark.parametrize(
    ("labels", "kinds", "message"),
    [
        ([0] * 9, own("dead"), "Two classes or more are needed: all marks are 'class 0'"),
        ([0] * 9 + [1] * 3, own("dead", None), "'class 1' has 3"),
        ([0] * 9, own("dead", None), "'class 1' has 0"),
        (list(range(31)) * 5, own(*[None] * 31), "31 classes are marked: 30 at most"),
        (
            list(range(29)) * 5,
            (*own(*["dead"] * 29), *kept("neoplastic", "connective")),
            "29 classes are marked, and 2 of the network's are kept .*: 30 at most",
        ),
        ([0] * 9 + [1] * 9, (*own(None, None), *kept(*BASE.classes)), "All of the network's"),
    ],
)
def test_too_little_to_learn_from_is_said(labels: list[int], kinds: tuple, message: str) -> None:
    world = World(len(kinds), signal=2)
    with pytest.raises(TsfdError, match=message):
        learn(world.marked(np.array(labels)), world.around([1] * len(kinds)), kinds, BASE)
