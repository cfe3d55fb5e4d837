"""One small network with varied outputs, converted once for all tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from conversion import parity
from conversion.fp16 import to_fp16
from conversion.to_onnx import convert
from training.export import export
from training.network import build

REPOSITORY = Path(__file__).parents[2] / "model_repository"


def varied_network(preset: str) -> keras.Model:
    """An untrained network whose maps follow the image.

    Fresh biases and statistics are zeros and ones, which optimisers remove; and the deep signal of
    a fresh network drowns in its biases, so that its forms would agree whatever happened to them.
    One pass in training mode gives every batch normalisation the statistics of real activations.
    """
    keras.utils.set_random_seed(5)
    random = np.random.default_rng(1)
    network = build(preset)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(random.uniform(0.8, 1.2, layer.gamma.shape))
            layer.beta.assign(random.normal(0, 0.2, layer.beta.shape))
            layer.momentum = 0.0
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.normal(0, 0.1, layer.bias.shape))
    for name in ("class", "boundary"):
        # An average, not a random kernel: nuclei of some size rather than speckle.
        last = network.get_layer(f"{name}_logits")
        last.kernel.assign(np.full(last.kernel.shape, 1 / 9, np.float32))
    tiles = parity.tiles()[:6]
    network(tiles, training=True)
    logits = {name: np.asarray(x) for name, x in network(tiles, training=False).items()}
    for name in ("class", "boundary"):
        values = logits[f"{name}_logits"]
        gain = 1 / values.std(axis=(0, 1, 2))
        last = network.get_layer(f"{name}_logits")
        last.kernel.assign(last.kernel * gain[:, None])
        last.bias.assign((last.bias - values.mean(axis=(0, 1, 2))) * gain)
    return network


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conversion") / "saved_model"
    export(varied_network("lite"), folder)
    return folder


@pytest.fixture(scope="session")
def model(saved_model: Path) -> onnx.ModelProto:
    return convert(saved_model)


@pytest.fixture(scope="session")
def half(model: onnx.ModelProto) -> onnx.ModelProto:
    return to_fp16(model)


@pytest.fixture
def untrained_tolerance(monkeypatch: pytest.MonkeyPatch) -> parity.Tolerance:
    """Wider limits: an untrained network magnifies a stain level that rounds the other way."""
    tolerance = parity.Tolerance(max_difference=0.3, mean_difference=0.01, panoptic_quality=0.8)
    monkeypatch.setattr(parity, "FLOAT32", tolerance)
    monkeypatch.setattr(parity, "FLOAT16", tolerance)
    return tolerance


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with instance extraction and no built network."""
    folder = tmp_path / "model_repository"
    shutil.copytree(REPOSITORY / "nuclei_postprocess", folder / "nuclei_postprocess")
    return folder
