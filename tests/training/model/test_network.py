"""The network: its exact size, its outputs, and that other Keras backends build and train it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from training.model.network import build

ROOT = Path(__file__).parents[3]
_TRACE_ONE_STEP = """
import jax, keras, numpy as np
from training.losses import boundary_loss, class_loss, tissue_loss
from training.model.network import build

assert keras.backend.backend() == "jax"
with keras.StatelessScope(initialize_variables=False):  # XLA would compile each initialiser
    assert build("paper").count_params() == 22_130_108
    network = build("lite")

image = np.zeros((2, 256, 256, 3), np.uint8)
allowed, outline = np.ones((2, 256, 256, 1), np.uint8), np.zeros((2, 256, 256, 1), np.uint8)
tissue = np.zeros((2, 19), np.float32)

def loss(trainable, fixed):
    logits, updated = network.stateless_call(trainable, fixed, image, training=True)
    total = (
        class_loss(allowed, logits["class_logits"])
        + boundary_loss(outline, logits["boundary_logits"])
        + tissue_loss(tissue, logits["tissue_logits"])
    )
    return total.mean(), updated

trainable, fixed = (
    [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]
    for variables in (network.trainable_variables, network.non_trainable_variables)
)
gradients, _ = jax.eval_shape(jax.grad(loss, has_aux=True), trainable, fixed)
assert [g.shape for g in gradients] == [v.shape for v in trainable]
print("traced")
"""


@pytest.fixture(scope="module")
def paper() -> keras.Model:
    return build("paper")


@pytest.fixture(scope="module")
def lite() -> keras.Model:
    keras.utils.set_random_seed(1)
    return build("lite")


def test_paper_preset_has_the_papers_parameters(paper: keras.Model) -> None:
    assert paper.count_params() == 22_130_108
    assert sum(int(np.prod(v.shape)) for v in paper.trainable_variables) == 21_959_455


def test_both_presets_keep_one_contract(lite: keras.Model, paper: keras.Model) -> None:
    for network in (lite, paper):
        assert network.input_shape == (None, 256, 256, 3)
        assert {name: x.shape for name, x in network.output.items()} == {
            "class_logits": (None, 256, 256, 6),
            "boundary_logits": (None, 256, 256, 1),
            "tissue_logits": (None, 19),
        }


def test_patches_do_not_influence_each_other(lite: keras.Model) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (2, 256, 256, 3), np.uint8)

    together = lite(tiles, training=False)
    alone = lite(tiles[:1], training=False)

    for name, value in alone.items():
        np.testing.assert_allclose(together[name][:1], value, atol=1e-4)


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match="There is no preset 'b7'; choose one of paper, lite"):
        build("b7")


@pytest.mark.slow
def test_builds_and_differentiates_on_jax() -> None:
    # Traced, not run: XLA compiles depthwise convolutions for a CPU for many minutes. A tiny
    # network runs in test_train_on_jax.py.
    pytest.importorskip("jax", reason="JAX is not installed")
    result = subprocess.run(
        [sys.executable, "-c", _TRACE_ONE_STEP],
        env=os.environ
        | {
            "KERAS_BACKEND": "jax",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.stdout.strip().endswith("traced"), result.stderr[-2000:]
