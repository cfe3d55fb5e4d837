"""Parity between the forms, and that it notices a changed network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conversion import parity, runtimes
from conversion.runtimes import Outputs


def _changed(
    model: onnx.ModelProto, folder: Path, change: Callable[[str, np.ndarray], np.ndarray]
) -> Path:
    """File of a copy of `model` whose constants have gone through `change`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(change(tensor.name, values), tensor.name))
    path = folder / "model.onnx"
    onnx.save(copy, path)
    return path


def _as_it_is(model: onnx.ModelProto, folder: Path) -> Path:
    return _changed(model, folder, lambda name, values: values)


@pytest.mark.parametrize(
    ("load", "tolerance", "levels"),
    [(runtimes.onnx_runtime, parity.FLOAT32, 1), (runtimes.openvino, parity.HALF, 5)],
)
def test_forms_agree(
    load: Callable,
    tolerance: parity.Tolerance,
    levels: int,
    model: onnx.ModelProto,
    reference: Outputs,
    run_once: Callable,
    tmp_path: Path,
) -> None:
    found = run_once(load, _as_it_is(model, tmp_path))

    result = parity.compare("ONNX", reference, found, tolerance)
    blanks = np.abs(found["class_probs"][-2:].astype(int) - reference["class_probs"][-2:])

    assert result.failures == ()
    assert result.nuclei_reference > 50
    # No stain is rounded in a blank tile, so nothing but arithmetic differs (of 255 levels); the
    # single worst pixel is judged in float32 alone.
    assert np.percentile(np.abs(blanks), tolerance.percentile) <= levels


@pytest.mark.parametrize("tolerance", [parity.FLOAT32, parity.HALF])
def test_a_tampered_weight_fails(
    tolerance: parity.Tolerance,
    model: onnx.ModelProto,
    reference: Outputs,
    run_once: Callable,
    tmp_path: Path,
) -> None:
    largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims)).name

    def compared(path: Path) -> parity.Parity:
        found = run_once(runtimes.onnx_runtime, path)
        return parity.compare("ONNX", reference, found, tolerance)

    intact = compared(_as_it_is(model, tmp_path))
    tampered = compared(_changed(model, tmp_path, lambda n, v: -v if n == largest else v))

    assert intact.failures == ()
    assert tampered.failures


def test_other_weights_pass_in_low_precision_and_are_told_from_broken_ones(
    model: onnx.ModelProto, run_once: Callable, tmp_path: Path
) -> None:
    """Weights that are surer of themselves: one pixel may differ more than 0.2, few do."""

    def sharpened(name: str, values: np.ndarray) -> np.ndarray:
        return 2 * values if "class_logits" in name or "boundary_logits" in name else values

    rng = np.random.default_rng(0)

    def shaken(name: str, values: np.ndarray) -> np.ndarray:
        if values.ndim == 4:
            values = values * rng.normal(1, 0.015, values.shape).astype(np.float32)
        return sharpened(name, values)

    path = _changed(model, tmp_path, sharpened)
    surer = run_once(runtimes.onnx_runtime, path)
    low = parity.compare("OpenVINO", surer, run_once(runtimes.openvino, path), parity.HALF)
    broken_outputs = run_once(runtimes.onnx_runtime, _changed(model, tmp_path, shaken))
    broken = parity.compare("ONNX", surer, broken_outputs, parity.HALF)

    assert low.failures == ()
    assert low.panoptic_quality > 0.95
    assert any("at the 99.9th percentile of the pixels" in failure for failure in broken.failures)
    assert broken.panoptic_quality > parity.HALF.panoptic_quality, "instances alone would pass it"


def test_the_worst_pixel_is_reported_and_judged_in_float32_alone(reference: Outputs) -> None:
    one_off = {name: values.copy() for name, values in reference.items()}
    one_off["boundary_prob"][0, 0, 0] = 255 if reference["boundary_prob"][0, 0, 0] < 128 else 0

    in_half = parity.compare("FP16 ONNX", reference, one_off, parity.HALF)
    in_float = parity.compare("ONNX", reference, one_off, parity.FLOAT32)

    assert in_half.failures == ()
    assert in_half.max_difference["boundary_prob"] > 0.5
    assert [failure.split()[0] for failure in in_float.failures] == ["boundary_prob"]


def test_instances_are_counted_and_compared_tile_by_tile(reference: Outputs) -> None:
    rolled = {name: np.roll(values, 1, axis=0) for name, values in reference.items()}

    same = parity.compare("ONNX", reference, reference, parity.HALF)
    other = parity.compare("ONNX", reference, rolled, parity.HALF)

    assert (same.panoptic_quality, same.nuclei) == (1.0, same.nuclei_reference)
    assert other.nuclei == same.nuclei
    assert other.panoptic_quality < 0.2


def test_no_instances_on_either_side_agree(reference: Outputs) -> None:
    blanks = {name: values[-2:] for name, values in reference.items()}

    result = parity.compare("ONNX", blanks, blanks, parity.HALF)

    assert (result.nuclei, result.panoptic_quality, result.failures) == (0, 1.0, ())


def test_nan_fails(reference: Outputs) -> None:
    broken = {**reference, "tissue_probs": np.full_like(reference["tissue_probs"], np.nan)}

    result = parity.compare("ONNX", reference, broken, parity.FLOAT32)

    assert [f.split()[0] for f in result.failures] == ["tissue_probs", "tissue_probs"]
