"""SavedModel -> ONNX -> FP16 ONNX: the contract, the shape of the graph and its errors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto

from conversion.errors import ConversionError
from conversion.to_onnx import convert


def test_names_types_and_shapes_are_the_contract(
    model: onnx.ModelProto, half: onnx.ModelProto
) -> None:
    def tensors(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[int, list[object]]]:
        return {
            value.name: (
                value.type.tensor_type.elem_type,
                [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
            )
            for value in values
        }

    for form in (model, half):
        assert tensors(form.graph.input) == {"image": (TensorProto.UINT8, ["N", 256, 256, 3])}
        assert tensors(form.graph.output) == {
            "class_probs": (TensorProto.UINT8, ["N", 256, 256, 6]),
            "boundary_prob": (TensorProto.UINT8, ["N", 256, 256]),
            "tissue_probs": (TensorProto.FLOAT, ["N", 19]),
            "features": (TensorProto.FLOAT16, ["N", 64, 64, 293]),
        }
        assert [(o.domain, o.version) for o in form.opset_import] == [("", 18)]


def test_no_layout_or_shape_arithmetic_is_left(model: onnx.ModelProto) -> None:
    operators = Counter(node.op_type for node in model.graph.node)

    # Into and out of channels-first once per branch, for the features from two places; nothing
    # between convolutions.
    assert operators["Transpose"] <= 8
    assert not {"Shape", "Gather", "MatMul", "BatchNormalization"} & set(operators)


def test_sensitive_parts_stay_float32(half: onnx.ModelProto) -> None:
    inferred = onnx.shape_inference.infer_shapes(half).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}

    sensitive = ("Log", "ReduceMin", "ReduceMax", "ReduceMean", "Softmax", "Round", "Floor")
    found = {
        (node.op_type, types[node.input[0]])
        for node in inferred.node
        if node.op_type in sensitive and node.input[0] in types
    }
    convolutions = Counter(types[n.input[1]] for n in inferred.node if n.op_type == "Conv")

    assert found == {(name, TensorProto.FLOAT) for name in sensitive}
    # The stain matrix is the one float32 convolution.
    assert convolutions[TensorProto.FLOAT] == 1
    assert convolutions[TensorProto.FLOAT16] > 200


def test_missing_saved_model(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"There is no SavedModel in .*none: write one with"):
        convert(tmp_path / "none")


def test_corrupt_saved_model(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"not a graph")

    with pytest.raises(ConversionError, match=r"cannot be read \(.+\): export it again with"):
        convert(tmp_path)


def test_another_signature_is_refused(tmp_path: Path) -> None:
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 256, 256, 3), tf.float32, name="image")])
        def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"class_probs": image}

    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})

    with pytest.raises(ConversionError) as caught:
        convert(tmp_path)

    assert str(caught.value) == (
        f"The SavedModel in {tmp_path} does not follow the serving contract: image should be uint8 "
        "[N, 256, 256, 3] in the signature serving_default, and it is float32 [N, 256, 256, 3]. "
        "Export it with `make export`."
    )


def test_dense_layers_became_convolutions_of_the_same_weights(model: onnx.ModelProto) -> None:
    kernels = {t.name: tuple(t.dims) for t in model.graph.initializer}
    pointwise = [n for n in model.graph.node if n.op_type == "Conv"]
    narrow = [n for n in pointwise if kernels[n.input[1]] == (6, 48, 1, 1)]

    assert len(narrow) == 72  # one squeeze per reweighted input of the lite preset
    assert all(np.prod(kernels[n.input[1]]) == 6 * 48 for n in narrow)
