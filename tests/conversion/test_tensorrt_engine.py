"""NVIDIA's real parser and builder, with no GPU; and what a sidecar tells."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from onnx import TensorProto, helper

from conversion.errors import ConversionError
from conversion.sidecar import Gpu, Sidecar, misfit
from conversion.tensorrt_engine import build

HOPPER = Gpu("NVIDIA H200", "9.0")


def test_the_fp16_graph_builds(half: onnx.ModelProto, rtx: ModuleType) -> None:
    built = build(rtx, half.SerializeToString())

    assert 5_000_000 < len(built) < 40_000_000


def test_a_graph_that_tensorrt_refuses_fails_with_the_node_named(
    half: onnx.ModelProto, rtx: ModuleType
) -> None:
    graph = onnx.ModelProto()
    graph.CopyFrom(half)
    softmax = next(node for node in graph.graph.node if node.op_type == "Softmax")
    softmax.op_type, softmax.name = "Det", "the_culprit"
    del softmax.attribute[:]

    with pytest.raises(
        ConversionError, match=r"TensorRT-RTX [\d.]+ refuses the graph: the_culprit"
    ):
        build(rtx, graph.SerializeToString())


def test_mixed_types_are_refused(rtx: ModuleType) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 256, 256, 3])
    output = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["N", 256, 256, 3])
    nodes = [
        helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16, name="half"),
        helper.make_node("Cast", ["image"], ["single"], to=TensorProto.FLOAT, name="single"),
        helper.make_node("Add", ["half", "single"], ["sum"], name="mixed_sum"),
    ]
    graph = helper.make_model(
        helper.make_graph(nodes, "mixed", [image], [output]),
        opset_imports=[helper.make_opsetid("", 18)],
    )

    with pytest.raises(ConversionError, match="TensorRT-RTX"):
        build(rtx, graph.SerializeToString())


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "model.plan"
    path.write_bytes(b"engine")
    digest = hashlib.sha256(b"engine").hexdigest()
    sidecar = Sidecar("10.16.0", HOPPER.name, HOPPER.compute_capability, "0" * 64, digest)
    (tmp_path / "model.plan.json").write_text(sidecar.to_json())
    return path


def test_a_plan_that_fits_is_no_misfit(plan: Path) -> None:
    assert misfit(plan, version="10.16.0", device=HOPPER) is None
    assert misfit(plan, version=None, device=None) is None
    assert misfit(plan.with_name("other.plan"), version="11.4.0", device=HOPPER) is None


def test_a_plan_of_another_tensorrt(plan: Path) -> None:
    assert misfit(plan, version="11.4.0", device=HOPPER) == (
        f"{plan} was built by TensorRT 10.16.0 and will not load in the installed 11.4.0"
    )


def test_a_plan_of_another_gpu(plan: Path) -> None:
    assert misfit(plan, version="10.16.0", device=Gpu("NVIDIA H100", "9.0")) == (
        f"{plan} was built for NVIDIA H200, not for NVIDIA H100"
    )


def test_a_plan_that_was_exchanged_or_has_no_sidecar(plan: Path) -> None:
    plan.write_bytes(b"another")
    assert misfit(plan, version=None, device=None) == (
        f"{plan} is not the engine that its sidecar describes"
    )
    plan.with_name("model.plan.json").write_text("{")
    assert misfit(plan, version=None, device=None) == (
        f"{plan} has no readable sidecar model.plan.json"
    )
