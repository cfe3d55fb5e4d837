"""A whole training on Keras' JAX backend: steps that run, a stop within an epoch, a resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from serving.environment import ROOT

PROGRAM = """
import json, os, signal, sys
import keras, numpy as np, tiny
from training.data.batches import Batches
from training.evaluation import in_process
from training.train import main

in_process.BATCH = 1
assert keras.backend.backend() == "jax"
syncs = []
sync = keras.Model.jax_state_sync

def counted(model):
    if model.name == "tsfd_net_tiny" and getattr(model, "_jax_state", None):
        syncs.append(not model._jax_state_synced)
    sync(model)

keras.Model.jax_state_sync = counted
*arguments, whole, stopped = sys.argv[1:]
found = {"whole": main([*arguments, "--out", whole]), "syncs": sum(syncs)}

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
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_training_runs_stops_and_resumes(pannuke: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tiny.RECIPE)
    arguments = ["--data", pannuke, "--recipe", recipe, "--epochs", "1"]

    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, tmp_path / "whole", tmp_path / "stopped"],
        env=os.environ
        | {
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": tiny.PYTHONPATH,
            # XLA compiles the step once, and quickly: it is to run, not to run fast.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / "build/tests/xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "whole": 0,
        "syncs": 1,  # at the end of the epoch, not in its three steps
        "stopped": 130,
        "done": 2,
        "resumed": 0,
        "different": [],
    }
