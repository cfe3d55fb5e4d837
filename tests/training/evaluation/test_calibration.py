"""Confidence against cases small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluation.calibration import BINS, Bin, bins, calibration_error, reliability


def test_bins_hold_what_falls_into_them() -> None:
    table = reliability(np.array([0.25, 0.29, 1.0]), np.array([True, False, True]))

    low, high = bins(table)
    assert low == Bin(0.2, pytest.approx(0.3), 2, pytest.approx(0.27), 0.5)
    assert high == Bin(0.9, 1.0, 1, 1.0, 1.0)


def test_the_error_is_the_mean_distance_over_the_nuclei() -> None:
    table = reliability(np.array([0.25, 0.29, 1.0]), np.array([True, False, True]))

    assert calibration_error(table) == pytest.approx((2 * 0.23 + 0) / 3)
    # Of several images at once, and of none.
    several = calibration_error(np.stack([table, 3 * table, np.zeros((BINS, 3))]))
    assert several == pytest.approx([0.46 / 3, 0.46 / 3, math.nan], nan_ok=True)


def test_confidence_that_holds_has_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 200_000)

    table = reliability(confidence, rng.uniform(size=confidence.size) < confidence)

    assert calibration_error(table) < 0.005
