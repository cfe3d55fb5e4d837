"""Backbones out of smaller ones: what the small one computes, the large one does too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import keras
import numpy as np
import pytest

from training.model.backbone import Backbone, features
from training.model.net2net import grow

SMALL = Backbone(width=0.5, depth=1.0, activation="relu6", squeeze_excite=False)
DEEPER = replace(SMALL, depth=1.8)
WIDER = replace(SMALL, width=0.7)
LARGE = Backbone(width=0.7, depth=1.8, activation="swish", squeeze_excite=True)
RGB = np.random.default_rng(0).normal(0, 1, (4, 64, 64, 3))
IMAGES = np.concatenate([RGB, np.zeros_like(RGB)], axis=-1).astype(np.float32)


@pytest.fixture(scope="module")
def small() -> keras.Model:
    """A backbone of which each convolution has values of its own, as after a training."""
    keras.utils.set_random_seed(5)
    network = _network(SMALL)
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:
        if variable.path.endswith("/beta"):
            variable.assign(rng.normal(0.3, 0.3, variable.shape))
    return network


def test_a_backbone_of_one_size_is_copied(small: keras.Model) -> None:
    target = _variables(_network(SMALL))
    grown = grow(_as_pytorch_saves(small), target)

    for path, value in _variables(small).items():
        if path != "stem_conv/kernel":
            np.testing.assert_array_equal(grown[path], value, err_msg=path)
    stem = grown["stem_conv/kernel"]
    np.testing.assert_array_equal(stem[:, :, :3], _variables(small)["stem_conv/kernel"][:, :, :3])
    np.testing.assert_allclose(stem[:, :, 3:], 0.1 * target["stem_conv/kernel"][:, :, 3:])


@pytest.mark.parametrize(
    ("larger", "least"), [(DEEPER, 0.8), (WIDER, 0.95), (LARGE, 0.7)], ids=("deep", "wide", "all")
)
def test_a_larger_backbone_computes_what_the_small_one_does(
    small: keras.Model, larger: Backbone, least: float
) -> None:
    keras.utils.set_random_seed(6)
    network = _network(larger)
    before = _likeness(small, network)
    variables = {v.path: v for v in network.variables if v.dtype == "float32"}
    for path, value in grow(_as_pytorch_saves(small), _variables(network)).items():
        variables[path].assign(value)

    assert before < 0.3
    assert _likeness(small, network) > least


def test_copies_are_not_the_same(small: keras.Model) -> None:
    grown = grow(_as_pytorch_saves(small), _variables(_network(WIDER)))

    filters = grown["block4a_expand_conv/kernel"].reshape(-1, grown["block4a_expand_bn/gamma"].size)
    assert len(np.unique(filters, axis=1).T) == filters.shape[1]


def _network(backbone: Backbone) -> keras.Model:
    image = keras.Input((64, 64, 6))
    taps = features(backbone, image)
    network = keras.Model(image, [taps["block3"], taps["block5"], taps["top"]])
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    return network


def _variables(network: keras.Model) -> dict[str, np.ndarray]:
    return {
        v.path: keras.ops.convert_to_numpy(v.value)
        for v in network.variables
        if v.dtype == "float32"
    }


def _likeness(small: keras.Model, large: keras.Model) -> float:
    """Least correlation of the small network's channels with the large one's first ones."""
    pairs = zip(small(IMAGES, training=True)[:2], large(IMAGES, training=True)[:2], strict=True)
    return min(
        float(np.corrcoef(np.ravel(few), np.ravel(many[..., : few.shape[-1]]))[0, 1])
        for few, many in pairs
    )


def _as_pytorch_saves(network: keras.Model) -> dict[str, np.ndarray]:
    """Variables by the names and in the layouts of the public packages."""
    return dict(_named(_variables(network)))


def _named(variables: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    norms = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    suffix = "_project_conv/kernel"
    blocks = sorted(path.removesuffix(suffix) for path in variables if path.endswith(suffix))
    places = {"stem_conv": "_conv_stem", "top_conv": "_conv_head", "stem_bn": "_bn0"}
    places["top_bn"] = "_bn1"
    for number, block in enumerate(blocks):
        for place, layer in enumerate(("expand", "depthwise", "project")):
            places[f"{block}_{layer}_conv"] = f"_blocks.{number}._{layer}_conv"
            places[f"{block}_{layer}_bn"] = f"_blocks.{number}._bn{place}"
    for path, value in variables.items():
        layer, name = path.split("/")
        if name == "kernel":
            value = value[:, :, :3] if layer == "stem_conv" else value
            axes = (2, 3, 0, 1) if layer.endswith("_depthwise_conv") else (3, 2, 0, 1)
            yield f"{places[layer]}.weight", value.transpose(axes)
        else:
            yield f"{places[layer]}.{norms[name]}", value
