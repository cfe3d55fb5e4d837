"""Parity between the forms, and that it notices a changed network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
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
    served: parity.Served,
    run_once: Callable,
    tmp_path: Path,
) -> None:
    found = run_once(load, _as_it_is(model, tmp_path))

    result = parity.compare("ONNX", reference, found, tolerance, served)
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
    served: parity.Served,
    run_once: Callable,
    tmp_path: Path,
) -> None:
    largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims)).name

    def compared(path: Path) -> parity.Parity:
        found = run_once(runtimes.onnx_runtime, path)
        return parity.compare("ONNX", reference, found, tolerance, served)

    intact = compared(_as_it_is(model, tmp_path))
    tampered = compared(_changed(model, tmp_path, lambda n, v: -v if n == largest else v))

    assert intact.failures == ()
    assert tampered.failures


def test_other_weights_pass_in_low_precision_and_are_told_from_broken_ones(
    model: onnx.ModelProto, served: parity.Served, run_once: Callable, tmp_path: Path
) -> None:
    """Weights that are surer of themselves: one pixel may differ more than 0.2, few do."""

    def sharpened(name: str, values: np.ndarray) -> np.ndarray:
        return 2 * values if "class_logits" in name or "boundary_logits" in name else values

    rng = np.random.default_rng(0)

    def shaken(name: str, values: np.ndarray) -> np.ndarray:
        if values.ndim == 4:
            values = values * rng.normal(1, 0.012, values.shape).astype(np.float32)
        return sharpened(name, values)

    path = _changed(model, tmp_path, sharpened)
    surer = run_once(runtimes.onnx_runtime, path)
    low = parity.compare("OpenVINO", surer, run_once(runtimes.openvino, path), parity.HALF, served)
    broken_outputs = run_once(runtimes.onnx_runtime, _changed(model, tmp_path, shaken))
    broken = parity.compare("ONNX", surer, broken_outputs, parity.HALF, served)

    assert low.failures == ()
    assert low.panoptic_quality > 0.95
    assert any("at the 99.9th percentile of the pixels" in failure for failure in broken.failures)
    assert broken.panoptic_quality > 0.90, "nearly all nuclei are still where they were"


def test_the_worst_pixel_is_reported_and_judged_in_float32_alone(
    reference: Outputs, served: parity.Served
) -> None:
    one_off = {name: values.copy() for name, values in reference.items()}
    one_off["boundary_prob"][0, 0, 0] = 255 if reference["boundary_prob"][0, 0, 0] < 128 else 0

    in_half = parity.compare("FP16 ONNX", reference, one_off, parity.HALF, served)
    in_float = parity.compare("ONNX", reference, one_off, parity.FLOAT32, served)

    assert in_half.failures == ()
    assert in_half.max_difference["boundary_prob"] > 0.5
    assert [failure.split()[0] for failure in in_float.failures] == ["boundary_prob"]


def test_instances_are_counted_and_compared_tile_by_tile(
    reference: Outputs, served: parity.Served
) -> None:
    rolled = {name: np.roll(values, 1, axis=0) for name, values in reference.items()}

    same = parity.compare("ONNX", reference, reference, parity.HALF, served)
    other = parity.compare("ONNX", reference, rolled, parity.HALF, served)

    assert (same.panoptic_quality, same.nuclei) == (1.0, same.nuclei_reference)
    assert other.nuclei == same.nuclei
    assert other.panoptic_quality < 0.2


def test_no_instances_on_either_side_agree(reference: Outputs, served: parity.Served) -> None:
    blanks = {name: values[-2:] for name, values in reference.items()}

    result = parity.compare("ONNX", blanks, blanks, parity.HALF, served)

    assert (result.nuclei, result.panoptic_quality, result.failures) == (0, 1.0, ())


def _unsure(outputs: Outputs, factors: list[float]) -> Outputs:
    """Outputs of weights that prefer a class little; `factors` change its odds."""
    probs = outputs["class_probs"] / 255
    shares = (probs[..., 1:] + 0.001) ** 0.1 * factors
    shares *= (1 - probs[..., :1]) / shares.sum(axis=-1, keepdims=True)
    class_probs = np.concatenate([probs[..., :1], shares], axis=-1)
    return outputs | {"class_probs": np.round(255 * class_probs).astype(np.uint8)}


def test_a_lost_class_is_named(reference: Outputs, served: parity.Served) -> None:
    """By so little that no pixel tells it."""
    right, lost = (_unsure(reference, [1, odds, 1, 1, 1]) for odds in (1, 0.6))

    (failure,) = parity.compare("FP16 ONNX", right, lost, parity.HALF, served).failures

    assert re.fullmatch(
        r"of \d+ inflammatory nuclei \d+% stay inflammatory, most of the others become \w+ "
        r"\(at least 80% must stay\)",
        failure,
    )


def test_a_class_that_is_found_no_more_is_named(reference: Outputs, served: parity.Served) -> None:
    class_probs = reference["class_probs"].copy()
    class_probs[class_probs.argmax(axis=-1) == 3] = (255, 0, 0, 0, 0, 0)
    found = reference | {"class_probs": class_probs}

    failures = parity.compare("FP16 ONNX", reference, found, parity.HALF, served).failures

    assert re.match(
        r"of \d+ connective nuclei \d+% stay connective, most of the others are not found",
        failures[0],
    )


@pytest.mark.parametrize("tolerance", [parity.HALF, parity.INT8])
def test_classes_in_another_order_are_named(
    tolerance: parity.Tolerance, reference: Outputs, served: parity.Served
) -> None:
    right = _unsure(reference, [1, 1, 1, 1, 1])
    permuted = right | {"class_probs": right["class_probs"][..., [0, 2, 1, 3, 4, 5]]}

    failures = parity.compare("FP16 ONNX", right, permuted, tolerance, served).failures

    named = [failure.split(" nuclei ")[0].split()[-1] for failure in failures[:2]]
    assert named == ["inflammatory", "neoplastic"]


def test_nuclei_are_those_of_the_thresholds_that_serve(
    reference: Outputs, served: parity.Served
) -> None:
    """A small change, at a threshold far from the usual ones, of nuclei that are all but sure."""
    background = reference["class_probs"][..., :1].astype(float)
    nuclei = reference["class_probs"][..., 1:].astype(float)
    raised = np.maximum(background, 20)
    nuclei *= (255 - raised) / np.maximum(255 - background, 1)
    fainter = np.round(np.concatenate([raised, nuclei], axis=-1)).astype(np.uint8)
    found = reference | {"class_probs": fainter}
    surer = replace(served.parameters, foreground_threshold=0.94, min_confidence=0.98)

    usual = parity.compare("FP16 ONNX", reference, found, parity.INT8, served)
    strict = parity.compare(
        "FP16 ONNX", reference, found, parity.INT8, replace(served, parameters=surer)
    )

    assert usual.panoptic_quality > 0.9
    assert strict.panoptic_quality < 0.1


@pytest.mark.parametrize("output", ["class_probs", "tissue_probs"])
def test_what_is_no_number_is_refused_on_an_extreme_tile(
    output: str, reference: Outputs, served: parity.Served
) -> None:
    """NaN is 0 as a whole number, and not where the pixels' differences or nuclei show it."""
    magenta = int((parity.tiles() == (255, 0, 255)).all(axis=(1, 2, 3)).argmax())
    broken = reference | {output: reference[output].copy()}
    if output == "class_probs":
        broken[output][magenta, :8, :8] = 0
    else:
        broken[output][magenta] = np.nan

    failures = parity.compare("FP16 ONNX", reference, broken, parity.INT8, served).failures

    said = {"class_probs": "do not sum to one", "tissue_probs": "are not finite"}[output]
    assert failures[0] == f"{output} {said} on tile {magenta + 1} of {len(parity.tiles())}"


def test_classes_that_the_tiles_do_not_show_are_said(
    reference: Outputs, served: parity.Served
) -> None:
    result = parity.compare("ONNX", reference, reference, parity.FLOAT32, served)

    assert result.kept == {name: 1 for name in served.classes if name != "dead"}
    assert "(too few to tell: dead): ok" in result.line()


def test_nan_fails(reference: Outputs, served: parity.Served) -> None:
    broken = {**reference, "tissue_probs": np.full_like(reference["tissue_probs"], np.nan)}

    result = parity.compare("ONNX", reference, broken, parity.FLOAT32, served)

    assert [f.split()[0] for f in result.failures] == ["tissue_probs"] * 3
