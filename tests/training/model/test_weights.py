"""Weights files: what comes back, and what a bad file says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
from instances import Parameters

from metrics.panoptic_quality import panoptic_quality
from samples.synthetic import generate
from serving.environment import ROOT
from training import compact
from training.evaluation import in_process
from training.evaluation.in_process import segment_all
from training.model import weights
from training.model.network import build
from training.target import PANNUKE


def test_round_trip(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    network = build(tiny.PRESET)
    network.get_layer("normalization").adapt_mean.assign(np.full(6, 0.5))
    network.get_layer("normalization").finalize_state()
    tile = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)

    weights.save(network, tiny.PRESET, tmp_path / "tiny.npz")
    loaded, preset = weights.load(tmp_path / "tiny.npz")

    assert preset == tiny.PRESET
    before = network(tile, training=False)["class_logits"]
    after = loaded(tile, training=False)["class_logits"]
    # Kernels went through half precision.
    np.testing.assert_allclose(after, before, atol=0.02 * np.abs(before).max())
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.npz"]


def test_bad_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.npz"
    with pytest.raises(weights.WeightsError, match=r"There is no weights file .*broken\.npz\."):
        weights.load(broken)
    broken.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(weights.WeightsError, match="is not a weights file of this project"):
        weights.load(broken)
    np.savez_compressed(broken, preset=tiny.PRESET, kernel=np.arange(1000))
    content = bytearray(broken.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    broken.write_bytes(content)
    with pytest.raises(weights.WeightsError, match="is not a weights file of this project"):
        weights.load(broken)
    np.savez(broken, preset=tiny.PRESET)
    with pytest.raises(weights.WeightsError, match=r"normalization/mean is missing\. Train it"):
        weights.load(broken)


def test_parameters_travel_with_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "tiny.npz"
    weights.save(build(tiny.PRESET), tiny.PRESET, path)
    assert weights.parameters(path) == Parameters()

    suited = Parameters(foreground_threshold=0.6, min_area=60)
    weights.set_parameters(path, suited)

    assert weights.parameters(path) == suited
    assert weights.load(path)[1] == tiny.PRESET
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.npz"]


def test_thresholds_move_to_the_middle(tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    path = tmp_path / "tiny.npz"
    weights.save(build(tiny.PRESET), tiny.PRESET, path)
    tile = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)

    def foreground_and_boundary() -> tuple[np.ndarray, np.ndarray]:
        outputs = weights.load(path)[0](tile, training=False)
        classes = keras.ops.softmax(outputs["class_logits"], axis=-1)
        return 1 - np.array(classes)[..., 0], np.array(
            keras.ops.sigmoid(outputs["boundary_logits"])
        )

    before = foreground_and_boundary()
    thresholds = [float(each.min() + each.max()) / 2 for each in before]
    moved = weights.centre(path, Parameters(*thresholds, min_area=20, min_confidence=0.9))

    assert weights.parameters(path) == moved
    assert (moved.foreground_threshold, moved.boundary_threshold, moved.min_area) == (0.5, 0.5, 20)
    odds = 0.9 / 0.1 * (1 - thresholds[0]) / thresholds[0]
    assert moved.min_confidence == pytest.approx(odds / (1 + odds), abs=0.0005)
    for old, new, threshold in zip(before, foreground_and_boundary(), thresholds, strict=True):
        near = abs(old - threshold) < 1e-6  # rounding may decide there
        assert near.mean() < 0.01
        np.testing.assert_array_equal((new > 0.5)[~near], (old > threshold)[~near])


def test_the_default_area_is_the_same_at_every_scale(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, target=np.array(json.dumps(replace(PANNUKE, mpp=0.5).to_dict())))
    assert weights.parameters(path) == Parameters(min_area=10)


def test_other_classes_than_the_datas_are_named(tmp_path: Path) -> None:
    own, other = tmp_path / "own.npz", tmp_path / "other.npz"
    np.savez(own, head=np.zeros(1))
    two = replace(PANNUKE, classes=PANNUKE.classes[:2])
    np.savez(other, target=np.array(json.dumps(two.to_dict())))
    for path, sentence in (
        (own, f"{own} holds classes of your own: name the weights file they were learned with."),
        (
            other,
            f"{other} tells neoplastic, inflammatory, but the data teach neoplastic, "
            "inflammatory, connective, dead, epithelial.",
        ),
    ):
        with pytest.raises(weights.WeightsError) as error:
            weights.check_classes(path)
        assert str(error.value) == sentence


def test_parameters_of_no_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(weights.WeightsError, match=r"There is no weights file .*none\.npz\."):
        weights.parameters(tmp_path / "none.npz")
    with pytest.raises(weights.WeightsError, match=r"There is no weights file .*none\.npz\."):
        weights.set_parameters(tmp_path / "none.npz", Parameters())


def test_older_files_name_the_method_that_is_served(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, parameters=np.array('{"min_area": 60, "method": "watershed"}'))
    assert weights.parameters(path) == Parameters(min_area=60)


@pytest.mark.parametrize(
    "text", ['{"min_area": -1}', '{"size": 3}', '{"method": "reference"}', "[]", "{"]
)
def test_parameters_that_cannot_be_used_are_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, parameters=np.array(text))

    with pytest.raises(weights.WeightsError, match=r"The parameters in .*npz cannot be used: .+"):
        weights.parameters(path)


@pytest.mark.parametrize(("name", "mpp"), [("lite", 0.25), ("paper", 0.25), ("lite-20x", 0.5)])
def test_the_shipped_weights_find_known_nuclei(
    name: str, mpp: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process, "BATCH", 1)  # no empty tiles beside the one of the field
    path = ROOT / "weights" / f"{name}.npz"
    network, preset = weights.load(path)
    target = weights.target(path)
    side = round(256 * mpp / 0.25)
    field = generate(side, side, nuclei=side**2 // 2184, seed=1)

    (nuclei,) = segment_all(network, [field.image], weights.parameters(path), target)

    assert (preset, target.mpp) == (name.removesuffix("-20x"), mpp)
    assert panoptic_quality(field.instance_map, nuclei.instance_map).pq > 0.8


def test_not_a_number_is_not_saved(tmp_path: Path) -> None:
    network = build(tiny.PRESET)
    kernel = network.get_layer("stem_conv").kernel
    kernel.assign(np.full(kernel.shape, np.nan))

    with pytest.raises(weights.WeightsError, match="stem_conv/kernel is not finite"):
        weights.save(network, tiny.PRESET, tmp_path / "tiny.npz")
    assert not list(tmp_path.iterdir())


def test_a_compacted_file_is_half_as_large_and_says_nearly_the_same(tmp_path: Path) -> None:
    keras.utils.set_random_seed(4)
    path = tmp_path / "tiny.npz"
    weights.save(build(tiny.PRESET), tiny.PRESET, path)
    weights.set_parameters(path, Parameters(min_area=60))
    before, size = weights.load(path)[0], path.stat().st_size

    weights.compact(path)

    after, preset = weights.load(path)
    assert preset == tiny.PRESET
    assert weights.parameters(path) == Parameters(min_area=60)
    assert path.stat().st_size < 0.75 * size
    for old, new in zip(before.weights, after.weights, strict=True):
        old, new = keras.ops.convert_to_numpy(old), keras.ops.convert_to_numpy(new)
        if old.ndim < 2:
            np.testing.assert_array_equal(new, old)
        else:  # half a step of its channel, at most half a step of the largest one
            np.testing.assert_allclose(new, old, atol=0.51 * np.abs(old).max() / 127)
    compacted = path.read_bytes()
    weights.compact(path)
    assert path.read_bytes() == compacted


def test_a_compacted_kernel_without_its_scale_is_damage(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", preset=tiny.PRESET, **{"stem_conv/kernel": np.ones(1, np.int8)})
    with pytest.raises(weights.WeightsError, match="is not a weights file of this project, or dam"):
        weights.load(tmp_path / "w.npz")


def test_compacting_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compact.main(["--weights", str(tmp_path / "none.npz")]) == 1
    assert capsys.readouterr().err == (
        f"compact: There is no weights file {tmp_path / 'none.npz'}.\n"
    )
