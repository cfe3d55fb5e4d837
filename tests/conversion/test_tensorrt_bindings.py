"""The engine's code with NVIDIA's bindings of TensorRT 11.1.

TensorRT's libraries are in no package, but its bindings are, and TensorRT-RTX's libraries have the
functions that they want. So everything that needs no GPU runs, from parser to timing cache; what
needs one is held against the signatures that the bindings state.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import tensorrt_rtx_libs
from onnx import TensorProto, helper

from serving.environment import ROOT

_NOTHING = b"dlerror"  # a function without arguments, which returns no object
_ONLY_TENSORRTS = b"initLibNvInferPlugins"
_FACTORIES = (b"createInferBuilder_INTERNAL", b"createInferRuntime_INTERNAL")
_PROGRAM = """
import os, sys
sys.setdlopenflags(os.RTLD_LAZY)
import tensorrt_bindings as trt
from pathlib import Path
from conversion import tensorrt_engine
from conversion.errors import ConversionError
"""
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program with the bindings as `trt`, optionally where CUDA does not start."""
    libraries = {path.name: path for path in Path(tensorrt_rtx_libs.__file__).parent.glob("*.so.*")}
    for name, library in (
        ("libnvinfer.so.11", "libtensorrt_rtx.so.1"),
        ("libnvinfer_plugin.so.11", "libtensorrt_rtx.so.1"),
        ("libnvonnxparser.so.11", "libtensorrt_onnxparser_rtx.so.1"),
    ):
        (tmp_path / name).symlink_to(libraries[library])

    def program(text: str, *, starts: bool = True) -> str:
        package = tmp_path / "tensorrt_bindings"
        package.mkdir()
        for file in importlib.metadata.files("tensorrt-cu13-bindings"):
            if file.parts[0] == package.name and len(file.parts) == 2:
                content = file.locate().read_bytes()
                for name in (_ONLY_TENSORRTS, *(() if starts else _FACTORIES)):
                    content = content.replace(name + b"\0", _NOTHING.ljust(len(name) + 1, b"\0"))
                (package / file.name).write_bytes(content)
        result = subprocess.run(
            [sys.executable, "-c", _PROGRAM + text],
            env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return program


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A network of one step, with the input that engines have."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 256, 256, 3])
    output = helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["N", 256, 256, 3])
    node = helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16)
    model = helper.make_model(
        helper.make_graph([node], "one", [image], [output]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "one.onnx")
    return tmp_path / "one.onnx"


@pytest.mark.parametrize("kept", [None, b"", b"of another version"])
def test_an_engine_is_built_whatever_timings_were_kept(
    run: Run, graph: Path, tmp_path: Path, kept: bytes | None
) -> None:
    timings = tmp_path / "timing.cache"
    if kept is not None:
        timings.write_bytes(kept)

    said = run(
        "graph, timings = Path('one.onnx').read_bytes(), Path('timing.cache')\n"
        "for _ in range(2): print(len(tensorrt_engine.build(trt, graph, timing_cache=timings)))"
    )

    assert [int(size) > 1000 for size in said.split()] == [True, True]
    assert timings.stat().st_size > 100


def test_a_graph_that_is_refused(run: Run) -> None:
    said = run(
        "try: tensorrt_engine.build(trt, b'no graph')\nexcept ConversionError as e: print(e)"
    )

    assert said.startswith("TensorRT 11.1.0.106 refuses the graph: ")


@pytest.mark.parametrize("call", ["build(trt, b'')", "load(trt, b'')"])
def test_where_cuda_does_not_start(run: Run, call: str) -> None:
    said = run(f"try: tensorrt_engine.{call}\nexcept ConversionError as e: print(e)", starts=False)

    assert said == "TensorRT 11.1.0.106 does not start: no reason given\n"


def test_what_is_no_engine_is_refused(run: Run) -> None:
    said = run("try: tensorrt_engine.load(trt, b'none')\nexcept ConversionError as e: print(e)")

    assert said.startswith("TensorRT 11.1.0.106 cannot load the engine: ")


def test_what_runs_an_engine_exists(run: Run) -> None:
    said = json.loads(
        run(
            "import json\n"
            "print(json.dumps({f'{kind.__name__}.{name}': getattr(kind, name).__doc__ or ''\n"
            "    for kind in (trt.Runtime, trt.ICudaEngine, trt.IExecutionContext)\n"
            "    for name in dir(kind)}))"
        )
    )

    assert "num_io_tensors" in " ".join(said)
    for name, signature in (
        ("Runtime.deserialize_cuda_engine", "serialized_engine: typing_extensions.Buffer"),
        ("ICudaEngine.get_tensor_name", "index: typing.SupportsInt) -> str"),
        ("ICudaEngine.create_execution_context", ""),
        ("IExecutionContext.set_input_shape", "name: str, shape: "),
        ("IExecutionContext.get_tensor_shape", "name: str) -> "),
        ("IExecutionContext.execute_v2", "bindings: collections.abc.Sequence"),
    ):
        assert signature in said[name], said[name]
