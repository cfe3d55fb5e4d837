"""Which instances of two maps are the same."""

from strips import strip

from metrics.overlap import matched, overlap


def test_every_intersection_is_found() -> None:
    found = overlap(strip((0, 3, 9), (4, 8, 2)), strip((0, 4, 5), (4, 6, 6)))
    assert found.truth_ids[found.rows].tolist() == [2, 9]
    assert found.predicted_ids[found.columns].tolist() == [6, 5]
    assert found.iou.tolist() == [2 / 4, 3 / 4]


def test_matched_names_the_pairs() -> None:
    truth, predicted = matched(strip((0, 3, 9), (4, 8, 2)), strip((0, 4, 5), (4, 6, 6)))
    assert (truth.tolist(), predicted.tolist()) == ([9], [5])
