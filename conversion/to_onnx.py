"""Convert a SavedModel to ONNX in a fraction of the time that tf2onnx takes on its own.

tf2onnx spends most of its time in its graph optimisers (the transpose pass sorts the whole graph
again at every step) and much of the rest in TensorFlow's freezing, which rebuilds an unused
function. Here a session turns variables into constants, Grappler folds them, each dense layer on an
[N, 1, 1, C] tensor becomes the equivalent 1x1 convolution, tf2onnx translates node by node, and
ONNX Runtime's offline optimiser removes transposes and folds batch normalisations.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.grappler import tf_optimizer
from tf2onnx import tfonnx

from conversion import rewrites
from conversion.errors import ConversionError
from conversion.model_io import INPUT, INPUT_SHAPE, OUTPUTS, has_shape

log = logging.getLogger(__name__)

OPSET = 18
_SIGNATURE = "serving_default"


def convert(saved_model: Path) -> onnx.ModelProto:
    """Convert a SavedModel that follows the serving contract.

    Parameters
    ----------
    saved_model
        Folder of the SavedModel.

    Returns
    -------
    onnx.ModelProto
        Opset 18, dynamic batch, the SavedModel's tensor names, float32 inside.

    Raises
    ------
    ConversionError
        If there is no SavedModel, or it cannot be read or has another signature.
    """
    graph, names = _freeze(saved_model)
    graph = _fold(graph, list(names))
    graph = _tensordots_to_convolutions(graph, list(names))
    model = _translate(graph, names)
    rewrites.repetitions(model)
    model = _optimise(model)
    rewrites.upsampling_to_convolutions(model)
    rewrites.transposes_to_outputs(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _freeze(saved_model: Path) -> tuple[graph_pb2.GraphDef, dict[str, str]]:
    """Return the graph with variables as constants, and its tensors' names by the contract's."""
    v1 = tf.compat.v1
    if not (saved_model / "saved_model.pb").is_file():
        raise ConversionError(
            f"There is no SavedModel in {saved_model}: write one with `make export`, or name its "
            "folder with --saved-model."
        )
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        try:
            meta = v1.saved_model.load(session, ["serve"], str(saved_model))
        except (OSError, RuntimeError, ValueError, DecodeError, tf.errors.OpError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConversionError(
                f"The SavedModel in {saved_model} cannot be read ({reason}): export it again with "
                "`make export`."
            ) from error
        names = _checked_signature(meta, saved_model)
        outputs = [tensor for tensor, name in names.items() if name != INPUT]
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), _node_names(outputs)
        )
    return frozen, names


def _checked_signature(meta: meta_graph_pb2.MetaGraphDef, saved_model: Path) -> dict[str, str]:
    signature = meta.signature_def.get(_SIGNATURE)
    found = {}
    if signature is not None:
        found = {name: _type_and_shape(info) for name, info in signature.inputs.items()}
        found |= {name: _type_and_shape(info) for name, info in signature.outputs.items()}
    wanted = {INPUT: (np.uint8, INPUT_SHAPE), **OUTPUTS}
    for name, (dtype, shape) in wanted.items():
        kind, sizes = found.get(name, ("", (0,)))
        if kind != np.dtype(dtype).name or sizes[0] != -1 or not has_shape(sizes[1:], shape):
            expected = np.dtype(dtype).name, (-1, *shape)
            has = "it is missing" if name not in found else f"it is {_text(found[name])}"
            raise ConversionError(
                f"The SavedModel in {saved_model} does not follow the serving contract: {name} "
                f"should be {_text(expected)} in the signature {_SIGNATURE}, and {has}. Export it "
                "with `make export`."
            )
    return {
        info.name: name for name, info in (*signature.inputs.items(), *signature.outputs.items())
    }


def _type_and_shape(info: meta_graph_pb2.TensorInfo) -> tuple[str, tuple[int, ...]]:
    return tf.dtypes.as_dtype(info.dtype).name, tuple(d.size for d in info.tensor_shape.dim)


def _text(found: tuple[str, tuple[int, ...]]) -> str:
    dtype, shape = found
    return f"{dtype} [{', '.join('N' if size == -1 else str(size) for size in shape)}]"


def _node_names(tensors: list[str]) -> list[str]:
    return list(dict.fromkeys(tensor.partition(":")[0] for tensor in tensors))


def _fold(graph: graph_pb2.GraphDef, tensors: list[str]) -> graph_pb2.GraphDef:
    """Inline functions and fold constants with Grappler."""
    meta = meta_graph_pb2.MetaGraphDef()
    meta.graph_def.CopyFrom(graph)
    meta.collection_def["train_op"].node_list.value.extend(tensors)
    config = config_pb2.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.optimizers[:] = ["function", "pruning", "constfold", "dependency"]
    rewrites.meta_optimizer_iterations = 2
    rewrites.min_graph_nodes = -1
    return tf_optimizer.OptimizeGraph(config, meta)


def _tensordots_to_convolutions(
    graph: graph_pb2.GraphDef, tensors: list[str]
) -> graph_pb2.GraphDef:
    """Replace Reshape, MatMul, Reshape on the last axis of a rank 4 tensor by a 1x1 convolution.

    Keras computes a dense layer on a rank 4 tensor this way, with eight more nodes for the shapes.
    With a dynamic batch size none of them folds, and they separate the convolutions around them.
    """
    nodes = {node.name: node for node in graph.node}
    for last in list(graph.node):
        match = _tensordot(last, nodes)
        if match is None:
            continue
        data, weights = match
        kernel = graph.node.add(name=f"{last.name}/kernel", op="Const")
        kernel.attr["dtype"].CopyFrom(weights.attr["dtype"])
        matrix = tf.make_ndarray(weights.attr["value"].tensor)
        kernel.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(matrix[None, None]))
        dtype = last.attr["T"].type
        last.Clear()
        last.name, last.op = kernel.name.removesuffix("/kernel"), "Conv2D"
        last.input.extend([data, kernel.name])
        last.attr["T"].type = dtype
        last.attr["strides"].list.i.extend([1, 1, 1, 1])
        last.attr["padding"].s = b"VALID"
    return tf.compat.v1.graph_util.extract_sub_graph(graph, _node_names(tensors))


def _tensordot(
    last: graph_pb2.NodeDef, nodes: dict[str, graph_pb2.NodeDef]
) -> tuple[str, graph_pb2.NodeDef] | None:
    """The tensor and the weights multiplied by the tensordot that ends in `last`, if it is one."""

    def source(node: graph_pb2.NodeDef, number: int) -> graph_pb2.NodeDef:
        return nodes[node.input[number].partition(":")[0]]

    if last.op != "Reshape" or source(last, 0).op != "MatMul":
        return None
    product = source(last, 0)
    first, weights, shape = source(product, 0), source(product, 1), source(last, 1)
    transposed = product.attr["transpose_a"].b or product.attr["transpose_b"].b
    if first.op != "Reshape" or weights.op != "Const" or transposed:
        return None
    # The result's shape is (the tensor's first three sizes, the weights' columns).
    if shape.op not in ("ConcatV2", "Pack") or source(first, 0).op == "Const":
        return None
    return first.input[0], weights


def _translate(graph: graph_pb2.GraphDef, names: dict[str, str]) -> onnx.ModelProto:
    tensors = {name: tensor for tensor, name in names.items()}
    with tf.Graph().as_default() as scope:
        tf.import_graph_def(graph, name="")
        translated = tfonnx.process_tf_graph(
            scope,
            opset=OPSET,
            input_names=[tensors[INPUT]],
            output_names=[tensors[name] for name in OUTPUTS],
            tensors_to_rename=names,
        )
    return translated.make_model("tsfd_net")


def _optimise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove transposes and fold constants, using standard operators only."""
    with tempfile.TemporaryDirectory(prefix="tsfd-onnx-") as scratch:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(scratch) / "model.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        optimised = onnx.load(options.optimized_model_filepath)
    del optimised.opset_import[:]
    optimised.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    optimised.producer_name = "tsfd-triton"
    for value in (*optimised.graph.input, *optimised.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return optimised
