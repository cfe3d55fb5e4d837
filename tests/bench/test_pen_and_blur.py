"""The benchmarks of pen and blur report what they promise, on the demo's image."""

from __future__ import annotations

import pytest

from bench import blur, pen
from samples.pen import INKS


def test_pen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pen, "_OPACITIES", (0.9,))
    monkeypatch.setattr(pen, "_CLUSTERS_UM", (30,))
    images = pen.tissues(None)
    rows = pen.found(images, fields=1)
    assert [row["colour"] for row in rows] == list(INKS)
    for row in rows[:4]:
        assert min(row["over tissue"], row["beside it"]) >= 0.95, row
    assert pen.taken(images) == {"tissue": 0.0}
    assert all(row["taken"] == 0 for row in pen.pigment(images, fields=1))


def test_blur(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blur, "_SIGMAS_UM", (3.0,))
    (row,) = blur.measure(blur.images(None))["by_sigma"]
    assert row["wrong"] == 0
    assert 0 <= row["found"] <= 1  # hardly any of so small an image is away from its middle
