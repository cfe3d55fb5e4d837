"""The SavedModel: its signature, its values against the network, and the export's errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from serving.environment import ROOT
from tests.exported import exported
from training.export import ExportError, export, main
from training.exported import file_sha256, is_current, source_sha256
from training.model import weights
from training.model.network import build
from training.target import CLASSES, PANNUKE

ORIGIN = exported("lite", "0" * 64, "1" * 64, {"min_area": 40}, PANNUKE.to_dict())


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(7)
    return build(tiny.PRESET)


@pytest.fixture(scope="module")
def saved_model(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "saved_model"
    export(network, folder, ORIGIN)
    return folder


@pytest.fixture(scope="module")
def loaded(saved_model: Path) -> tf.Module:
    return tf.saved_model.load(str(saved_model))


def test_signature_is_the_serving_contract(loaded: tf.Module) -> None:
    signature = loaded.signatures["serving_default"]

    (image,) = signature.structured_input_signature[1].values()
    outputs = {
        name: (s.shape.as_list(), s.dtype) for name, s in signature.structured_outputs.items()
    }

    assert (image.name, image.shape.as_list(), image.dtype) == (
        "image",
        [None, 256, 256, 3],
        tf.uint8,
    )
    assert outputs == {
        "class_probs": ([None, 256, 256, 6], tf.uint8),
        "boundary_prob": ([None, 256, 256], tf.uint8),
        "tissue_probs": ([None, 19], tf.float32),
        "features": ([None, 64, 64, tiny.FEATURES], tf.float16),
    }


def test_values_are_the_networks_probabilities(network: keras.Model, loaded: tf.Module) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    blanks = np.stack([np.full((256, 256, 3), value, np.uint8) for value in (0, 255)])
    image = np.concatenate([noise, blanks])

    served = loaded.signatures["serving_default"](image=tf.constant(image))
    logits = {name: np.asarray(x) for name, x in network(image, training=False).items()}
    exponents = np.exp(logits["class_logits"])
    class_probs = 255 * exponents / exponents.sum(-1, keepdims=True)
    boundary_prob = 255 / (1 + np.exp(-logits["boundary_logits"][..., 0]))

    # Half a level of rounding and a little arithmetic noise.
    np.testing.assert_allclose(served["class_probs"].numpy(), class_probs, atol=0.51)
    np.testing.assert_allclose(served["boundary_prob"].numpy(), boundary_prob, atol=0.51)
    np.testing.assert_allclose(served["tissue_probs"].numpy().sum(-1), 1, atol=1e-5)


def test_a_saved_model_says_what_it_was_made_from(saved_model: Path) -> None:
    record = json.loads((saved_model / "assets.extra" / "network.json").read_text())

    assert record == {
        "preset": "lite",
        "weights_sha256": "0" * 64,
        "classes_sha256": "",
        "source_sha256": "1" * 64,
        "parameters": {"min_area": 40},
        "target": json.loads(json.dumps(PANNUKE.to_dict())),
        "network_classes": list(CLASSES[1:]),
        "features": 293,
    }


def test_content_decides_what_is_up_to_date(tmp_path: Path) -> None:
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights of another training")
    os.utime(second, (0, 0))
    exported("lite", file_sha256(first), source_sha256(), {}, {}).write(tmp_path)

    assert is_current(tmp_path, first)
    assert not is_current(tmp_path, second)
    assert not is_current(tmp_path, tmp_path / "missing.npz")
    exported("lite", file_sha256(first), "other code", {}, {}).write(tmp_path)
    assert not is_current(tmp_path, first)
    (tmp_path / "assets.extra" / "network.json").write_text("{")
    assert not is_current(tmp_path, first)


def test_a_newer_export_of_others_is_replaced(network: keras.Model, tmp_path: Path) -> None:
    path, folder = tmp_path / "tiny.npz", tmp_path / "saved_model"
    weights.save(network, tiny.PRESET, path)
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"of other weights")
    exported(tiny.PRESET, "0" * 64, source_sha256(), {}, PANNUKE.to_dict()).write(folder)

    assert main(["--weights", str(path), "--out", str(folder)]) == 0

    assert is_current(folder, path)
    assert "serving_default" in tf.saved_model.load(str(folder)).signatures


def test_an_export_that_is_up_to_date_needs_no_tensorflow(tmp_path: Path) -> None:
    shipped = ROOT / "weights" / "lite.npz"
    exported("lite", file_sha256(shipped), source_sha256(), {}, {}).write(tmp_path)
    arguments = ["--weights", str(shipped), "--out", str(tmp_path)]

    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nfrom training.export import main\n"
            f"assert main({arguments!r}) == 0\n"
            "assert not {'tensorflow', 'keras', 'numba'} & set(sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path} is up to date with {shipped}.\n"


def test_an_unknown_preset_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--random-weights", "huge", "--out", str(tmp_path / "out")]) == 1
    message = "export: There is no preset 'huge'; choose one of paper, lite"
    assert capsys.readouterr().err.startswith(message)


def test_missing_weights_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "lite.npz"

    code = main(["--weights", str(missing), "--out", str(tmp_path / "out")])

    assert code == 1
    assert capsys.readouterr().err == f"export: There is no weights file {missing}.\n"
    assert not (tmp_path / "out").exists()


def test_foreign_folder_is_not_replaced(network: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    with pytest.raises(ExportError, match="exists and is not a SavedModel; delete it or choose"):
        export(network, tmp_path, ORIGIN)

    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_jax_backend_is_refused(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pathlib import Path\nfrom training.export import export\n"
            "from training.quiet import quiet_tensorflow\n"
            "with quiet_tensorflow():\n    import keras\n"
            "keras.backend.backend = lambda: 'jax'\n"
            f"export(None, Path({str(tmp_path / 'out')!r}), None)",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    # TensorFlow's start-up lines would come first.
    assert result.stderr.startswith("Traceback")
    assert "run the export with KERAS_BACKEND=tensorflow" in result.stderr
