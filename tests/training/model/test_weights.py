"""Weights files: what comes back, and what a bad file says."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from training.model import weights
from training.model.network import build


def test_round_trip(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    network = build("lite")
    network.get_layer("normalization").adapt_mean.assign(np.full(6, 0.5))
    network.get_layer("normalization").finalize_state()
    tile = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)

    weights.save(network, "lite", tmp_path / "lite.npz")
    loaded, preset = weights.load(tmp_path / "lite.npz")

    assert preset == "lite"
    before = network(tile, training=False)["class_logits"]
    after = loaded(tile, training=False)["class_logits"]
    # Kernels went through half precision.
    np.testing.assert_allclose(after, before, atol=0.02 * np.abs(before).max())
    assert [p.name for p in tmp_path.iterdir()] == ["lite.npz"]


def test_bad_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.npz"
    with pytest.raises(weights.WeightsError, match=r"There is no weights file .*broken\.npz\."):
        weights.load(broken)
    broken.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(weights.WeightsError, match="is not a weights file of this project"):
        weights.load(broken)
    np.savez(broken, preset="lite")
    with pytest.raises(weights.WeightsError, match=r"normalization/mean is missing\. Train it"):
        weights.load(broken)


def test_not_a_number_is_not_saved(tmp_path: Path) -> None:
    network = build("lite")
    kernel = network.get_layer("stem_conv").kernel
    kernel.assign(np.full(kernel.shape, np.nan))

    with pytest.raises(weights.WeightsError, match="stem_conv/kernel is not finite"):
        weights.save(network, "lite", tmp_path / "lite.npz")
    assert not list(tmp_path.iterdir())
