"""Classes fitted to annotated nuclei, and folded into the last layer."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
from fields import write_manifest

from training import calibrate
from training.calibrate import (
    NONE,
    Calibration,
    Nuclei,
    collect,
    cross_validated,
    fit,
    probabilities,
    surprise,
)
from training.data.annotated import Annotated
from training.evaluation import in_process
from training.evaluation.in_process import Probabilities
from training.model import weights
from training.model.network import build
from tsfd_client.stitching.tiling import tiling


def drawn(calibration: Calibration, number: int = 20_000) -> Nuclei:
    """Nuclei whose classes occur as often as the calibrated network says."""
    rng = np.random.default_rng(0)
    shares = 0.8 * rng.dirichlet(np.ones(5), number)
    nuclei = Nuclei(shares, np.ones((number, 5), bool), np.arange(number))
    chance = probabilities(nuclei, calibration).cumsum(axis=1)
    classes = (rng.random((number, 1)) > chance).sum(axis=1)
    return Nuclei(shares, np.eye(5, dtype=bool)[classes], np.arange(number))


def test_what_the_network_prefers_is_found() -> None:
    truth = Calibration(1.5, np.array([-1.0, 0.5, 0.2, -0.3, 0.6]))
    nuclei = drawn(truth)

    found = fit(nuclei)

    assert found.scale == pytest.approx(truth.scale, rel=0.05)
    shift = (found.bias - truth.bias).mean()  # one for all changes no class
    np.testing.assert_allclose(found.bias - shift, truth.bias, atol=0.08)
    before, after = (
        surprise(probabilities(nuclei, each), nuclei.allowed) for each in (NONE, found)
    )
    assert after < before - 0.1


def test_labels_that_allow_several_classes_count_for_what_they_say() -> None:
    nuclei = drawn(Calibration(1.0, np.array([-1.0, 0.5, 0.2, -0.3, 0.6])))
    either = nuclei.allowed.copy()
    either[either[:, 0] | either[:, 4]] |= np.array([True, False, False, False, True])
    told = fit(Nuclei(nuclei.shares, either, nuclei.image))

    bias = told.bias - told.bias.mean()
    np.testing.assert_allclose(bias[1:4], [0.5, 0.2, -0.3], atol=0.1)


def test_a_class_that_no_nucleus_may_have_keeps_its_bias() -> None:
    nuclei = drawn(Calibration(1.5, np.array([-1.0, 0.5, 0.2, -0.3, 0.6])))
    found = fit(nuclei.of(~nuclei.allowed[:, 3]))

    assert found.bias[3] == 0
    assert np.abs(found.bias[[0, 1, 2, 4]]).min() > 0.1


def test_cross_validation_tells_a_fit_that_holds_elsewhere() -> None:
    holds = drawn(Calibration(1.5, np.array([-1.0, 0.5, 0.2, -0.3, 0.6])), 2_000)
    calibrated = cross_validated(holds, np.arange(2_000))
    assert surprise(calibrated, holds.allowed) < surprise(probabilities(holds, NONE), holds.allowed)
    # Every image has nuclei of a single class: what is fitted to some misleads for the others.
    classes = holds.allowed.argmax(axis=1)
    differ = Nuclei(holds.shares, holds.allowed, classes)
    calibrated = cross_validated(differ, np.arange(5))
    assert surprise(calibrated, differ.allowed) > surprise(
        probabilities(differ, NONE), differ.allowed
    )


def test_the_fold_does_what_was_fitted(tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    path = tmp_path / "tiny.npz"
    weights.save(build(tiny.PRESET), tiny.PRESET, path)
    tile = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)
    before = np.array(weights.load(path)[0](tile, training=False)["class_logits"])
    bias = np.array([-1.0, 0.5, 0.2, -0.3, 0.6])

    weights.fold(path, 1.5, bias)

    after = np.array(weights.load(path)[0](tile, training=False)["class_logits"])
    expected = 1.5 * before + [0, *bias]
    np.testing.assert_allclose(after, expected, atol=0.01 * np.abs(expected).max())


def test_what_is_left_out_says_nothing_of_a_nucleus() -> None:
    # Half a nucleus is to be left out, another wholly; there the network is sure of another class.
    instances = np.zeros((256, 256), np.uint16)
    instances[40:60, 40:60], instances[100:120, 100:120] = 1, 2
    ignore = np.zeros(instances.shape, bool)
    ignore[50:] = True
    image = Annotated(
        image=np.zeros((256, 256, 3), np.uint8),
        instances=instances,
        allowed=np.array([1, 2, 4], np.uint8),
        tissue=None,
        source="made",
        group="a",
        name="a",
        ignore=ignore,
    )
    said = np.zeros((256, 256, 6), np.uint8)
    said[:50, :, 1], said[50:, :, 2] = 255, 255
    cut = tiling(image.image, 0.25, 0.25)
    found = Probabilities(cut, list(cut), [{"class_probs": said}])

    nuclei = collect([image], [found])

    assert nuclei.shares.tolist() == [[1, 0, 0, 0, 0]]
    assert nuclei.allowed.tolist() == [[True, False, False, False, False]]


@pytest.mark.slow
@pytest.mark.usefixtures("built_once")
def test_the_command_shows_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process, "BATCH", 1)  # no empty tiles beside the one of an image
    write_manifest(tmp_path, [(200, 200)] * 34, split="train")
    lite = Path(calibrate.__file__).parents[1] / "weights" / "lite.npz"
    file = Path(shutil.copy(lite, tmp_path / "lite.npz"))
    before = file.read_bytes()
    command = ["--manifest", str(tmp_path), "--weights", str(file)]

    assert calibrate.main(command) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("Classes of ")
    assert [line.split()[0] for line in shown[2:7]] == list(calibrate.CLASSES[1:])
    assert file.read_bytes() == before

    assert calibrate.main([*command, "--write"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"Folded the calibration into {file}: tune the thresholds now."
    )
    assert file.read_bytes() != before


def test_nothing_to_fit_to_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path, [(64, 64)] * 3, split="train")
    command = ["--manifest", str(tmp_path), "--weights"]
    assert calibrate.main([*command, str(tmp_path / "no.npz")]) == 1
    assert capsys.readouterr().err == (
        f"calibrate: There is no weights file {tmp_path / 'no.npz'}.\n"
    )
    weights.save(build(tiny.PRESET), tiny.PRESET, tmp_path / "tiny.npz")
    assert calibrate.main([*command, str(tmp_path / "tiny.npz")]) == 1
    assert capsys.readouterr().err == (
        "calibrate: No nucleus of the split 'train' that is held back to choose by has a class.\n"
    )
