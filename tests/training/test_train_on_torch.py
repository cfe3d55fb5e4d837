"""A whole training on Keras' PyTorch backend, where there is no TensorFlow, and its gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import one_batch
import pytest
import tiny

from training.model import weights
from training.model.network import build

pytestmark = pytest.mark.slow

PROGRAM = """
import json, os, signal, sys
from importlib.machinery import PathFinder
from pathlib import Path

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, *more):
        return None if name.startswith("tensorflow") else PathFinder.find_spec(name, *more)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow

import training.backend
import keras, numpy as np, tiny
from training.data.batches import Batches
from training.evaluation import in_process
from training.on_cuda import from_processes
from training.train import SEED, load, main

in_process.BATCH = 1
assert keras.backend.backend() == "torch"
folder, *arguments, whole, stopped = sys.argv[1:]
arguments += ["--data", folder]
found = {"whole": main([*arguments, "--out", whole])}

get = Batches.__getitem__

def stopping(batches, index):
    if index == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return get(batches, index)

Batches.__getitem__ = stopping
found["stopped"] = main([*arguments, "--out", stopped])
with np.load(f"{stopped}/checkpoint.npz") as file:
    values = [file[name] for name in file.files if name != "run"]
found["done"] = max(int(v) for v in values if v.shape == () and v.dtype.kind == "i")
Batches.__getitem__ = get
found["resumed"] = main([*arguments, "--out", stopped, "--resume"])

with np.load(f"{whole}/weights.npz") as a, np.load(f"{stopped}/weights.npz") as b:
    found["different"] = [n for n in a.files if not np.array_equal(a[n], b[n])]

data = load(Path(folder), [1], 2)[0]
batches = Batches(data, batch_size=2, steps=4, seed=0, augmentation="strong")
batches.epoch, batches.skipped = 1, 1
found["alike"] = [
    bool((image.numpy() == batches.batch(step)[0]).all())
    for step, (image, _) in enumerate(from_processes(batches), start=5)
]
print(json.dumps(found))
"""

ON_TENSORFLOW = """
import sys, tensorflow, tiny
from training.evaluation import in_process
from training.train import main

in_process.BATCH = 1
tensorflow.config.run_functions_eagerly(True)
sys.exit(main(sys.argv[1:]))
"""


def _run(backend: str | None, *command: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": tiny.PYTHONPATH, "KERAS_BACKEND": backend or ""}
    if backend is None:
        del environment["KERAS_BACKEND"]
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")


def test_a_training_needs_no_tensorflow_stops_and_resumes(pannuke: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tiny.RECIPE)
    arguments = [pannuke, "--recipe", recipe, "--epochs", "1"]

    result = _run(None, "-c", PROGRAM, *arguments, tmp_path / "whole", tmp_path / "stopped")

    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "whole": 0,
        "stopped": 130,
        "done": 2,
        "resumed": 0,
        "different": [],
        "alike": [True, True, True],
    }
    assert list((tmp_path / "whole" / "tensorboard").rglob("events.*"))

    # Another backend goes on with it.
    more = ["--data", *arguments[:3], "--epochs", "2", "--out", tmp_path / "whole", "--resume"]
    result = _run("tensorflow", "-c", ON_TENSORFLOW, *more)

    assert result.returncode == 0, result.stderr[-3000:]
    log = (tmp_path / "whole" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["epoch", "0", "1"]


def test_loss_gradients_and_statistics_are_tensorflows(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    start = tmp_path / "start.npz"
    weights.save(build(one_batch.PRESET), one_batch.PRESET, start)
    program = Path(__file__).with_name("one_batch.py")
    for losses in ("marginal", "paper"):
        found = {}
        for backend in ("tensorflow", "torch"):
            out = tmp_path / f"{backend}.npz"
            result = _run(backend, program, start, losses, out)
            assert result.returncode == 0, result.stderr[-3000:]
            with np.load(out) as file:
                found[backend] = {name: file[name] for name in file.files}
        expected, ours = found["tensorflow"], found["torch"]
        assert expected.keys() == ours.keys()
        np.testing.assert_allclose(ours["loss"], expected["loss"], rtol=1e-5)
        for name, value in expected.items():
            # The gradient of a bias before a normalisation is 0 but for rounding.
            near = 5e-3 * np.abs(value).max() + 1e-5
            np.testing.assert_allclose(ours[name], value, atol=near, err_msg=name)
