"""Parity between the forms, and that it notices a changed network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conversion import parity, runtimes
from conversion.runtimes import Outputs

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@pytest.fixture(scope="module")
def reference(saved_model: Path) -> Outputs:
    return parity.outputs(runtimes.saved_model(saved_model), parity.tiles())


def _file(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("load", "tolerance", "levels"),
    [(runtimes.onnx_runtime, parity.FLOAT32, 1), (runtimes.openvino, parity.HALF, 10)],
)
def test_forms_agree(
    load: object,
    tolerance: parity.Tolerance,
    levels: int,
    model: onnx.ModelProto,
    reference: Outputs,
    tmp_path: Path,
) -> None:
    found = parity.outputs(load(_file(model, tmp_path)), parity.tiles())

    result = parity.compare("ONNX", reference, found, tolerance, parity.load_instances(REPOSITORY))
    blanks = np.abs(found["class_probs"][-2:].astype(int) - reference["class_probs"][-2:])

    assert result.failures == ()
    assert result.nuclei_reference > 50
    # No stain is rounded in a blank tile, so nothing but arithmetic differs (of 255 levels).
    assert np.abs(blanks).max() <= levels


def test_a_tampered_weight_fails(
    model: onnx.ModelProto,
    reference: Outputs,
    tmp_path: Path,
) -> None:
    tampered = onnx.ModelProto()
    tampered.CopyFrom(model)
    kernel = max(tampered.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    kernel.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(kernel), kernel.name))
    instances = parity.load_instances(REPOSITORY)

    def compared(form: onnx.ModelProto) -> parity.Parity:
        found = parity.outputs(runtimes.onnx_runtime(_file(form, tmp_path)), parity.tiles())
        return parity.compare("ONNX", reference, found, parity.FLOAT32, instances)

    assert compared(model).failures == ()
    assert compared(tampered).failures


def test_nan_fails(reference: Outputs) -> None:
    broken = {**reference, "tissue_probs": np.full_like(reference["tissue_probs"], np.nan)}

    result = parity.compare(
        "ONNX", reference, broken, parity.FLOAT32, parity.load_instances(REPOSITORY)
    )

    assert [f.split()[0] for f in result.failures] == ["tissue_probs", "tissue_probs"]
