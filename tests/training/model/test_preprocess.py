"""The in-graph stain deconvolution against the formula, written out in numpy."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest

from samples.synthetic import generate
from training.model.preprocess import network_input, stain_channels


def _formula(rgb: np.ndarray) -> np.ndarray:
    """Ruifrok and Johnston's deconvolution as the authors of TSFD-Net scale it, float64."""
    haematoxylin, eosin = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
    inverse = np.linalg.inv(np.stack([haematoxylin, eosin, np.cross(haematoxylin, eosin)]))
    stains = np.log(np.maximum(rgb.astype(np.float64), 1e-6)) / np.log(1e-6) @ inverse
    low, high = stains.min((0, 1)), stains.max((0, 1))
    return (1 - (stains - low) / (high - low)) * 255


def _stains(rgb: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(stain_channels(rgb[None].astype(np.float32)))[0]


def _tile() -> np.ndarray:
    return generate(256, 256, nuclei=25, seed=4).image


@pytest.mark.parametrize("kind", ["tissue", "noise", "with black and white"])
def test_stains_follow_the_formula(kind: str) -> None:
    rgb = _tile()
    if kind == "noise":
        rgb = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    if kind == "with black and white":
        rgb[:20], rgb[20:40] = 0, 255

    stains, exact = _stains(rgb), _formula(rgb)

    assert np.array_equal(stains, np.floor(stains))
    # float32 may put a value that lies on a whole number on its other side.
    assert np.abs(stains - np.floor(exact)).max() <= 1
    assert np.mean(stains != np.floor(exact)) < 1e-3


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (240, 238, 241), (180, 90, 160)])
def test_constant_tile_holds_no_stain(colour: tuple[int, int, int]) -> None:
    assert np.all(_stains(np.full((256, 256, 3), colour, np.uint8)) == 255)


def test_network_input_is_resized_with_half_pixel_centres() -> None:
    rgb = _tile()

    x = keras.ops.convert_to_numpy(network_input(rgb[None], 512))[0]

    assert x.shape == (512, 512, 6)
    expected = cv2.resize(rgb.astype(np.float32), (512, 512), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(x[..., :3], expected, atol=0.01)
    stains = cv2.resize(_stains(rgb), (512, 512), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(x[..., 3:], stains, atol=0.01)
