"""Build and run TensorRT engines of FP16 ONNX, with TensorRT 10 or 11 or TensorRT-RTX.

    python3 -m conversion.tensorrt_engine host
    python3 -m conversion.tensorrt_engine build model.fp16.onnx model.plan
    python3 -m conversion.tensorrt_engine run model.plan images.npy outputs.npz

These commands run wherever TensorRT and the GPU are, in this Python or in NVIDIA's container, and
need only numpy and TensorRT's own package. ``host`` prints a description of the host, ``build``
writes the engine and its sidecar, and ``run`` writes the engine's outputs for uint8 images
[N, 256, 256, 3] and the host it ran on.

Networks are strongly typed (the only kind in TensorRT 11), so the engine computes in float16
exactly where the ONNX graph does. TensorRT-RTX can build without a GPU. TensorRT refuses every
graph that its parser refuses, which is what the target ``check`` tests.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from conversion import cuda, nvidia
from conversion.errors import ConversionError
from conversion.host_support import Host
from conversion.model_io import BATCH_BEST, BATCH_MAX, BATCH_MIN, INPUT, INPUT_SHAPE, OUTPUTS
from conversion.runtimes import ENGINE_BATCHES, Outputs, Runner, infer
from conversion.sidecar import Gpu, Sidecar, sidecar_file

INSTALL_CHECK = (
    "pip install tensorrt-rtx-cu12-bindings==1.7.1.116 && "
    "pip install --no-deps tensorrt-rtx-cu12-libs==1.7.1.116"
)
COMMANDS = {"host": (), "build": ("onnx", "plan"), "run": ("plan", "images", "outputs")}
"""The commands, here and in `conversion.openvino_engine`, with their file arguments."""

_MOST_REFUSALS = 5  # named in one message


def tensorrt() -> ModuleType | None:
    """The installed TensorRT, or None."""
    return _imported("tensorrt")


def tensorrt_rtx() -> ModuleType | None:
    """The installed TensorRT-RTX, or None."""
    # The libraries must be loaded before the bindings look for them.
    return _imported("tensorrt_rtx_bindings") if _imported("tensorrt_rtx_libs") else None


def gpu() -> Gpu | None:
    """The first visible GPU, on which engines are built and run, or None."""
    if nvidia.obstacle():
        return None
    driver = nvidia.Driver()
    return Gpu(driver.name(), driver.compute_capability())


def driver() -> str | None:
    """Version of the NVIDIA driver, or None."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.partition("\n")[0].strip() or None


def obstacle() -> str | None:
    """Why this Python cannot build and run engines, as a clause, or None."""
    if gpu() is None:
        return (
            "there is no NVIDIA GPU on this machine, and an engine fits only the GPU type it was "
            "built on; run the conversion on the serving host for it"
        )
    if tensorrt() is None:
        return (
            "the package tensorrt is not installed; have the serving container build the engine "
            "(deploy/README.md), or install the container's version with `pip install tensorrt`"
        )
    return None


def build(trt: ModuleType, onnx_model: bytes, *, timing_cache: Path | None = None) -> bytes:
    """Parse an ONNX model and build a serialised engine.

    Parameters
    ----------
    trt
        `tensorrt` or `tensorrt_rtx`.
    onnx_model
        Serialised FP16 ONNX with the input ``image``.
    timing_cache
        File that keeps kernel timings from one build to the next (TensorRT only).

    Returns
    -------
    bytes
        The engine, for batches of 1 to 32, optimised for 8.

    Raises
    ------
    ConversionError
        If TensorRT does not start, the parser refuses a node, which is named, or the builder fails.
    """
    log = _collector(trt)
    builder = _started(trt, log, trt.Builder)
    # TensorRT 11 has no other kind of network, and perhaps no flag for it.
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx_model):
        raise ConversionError(f"{_title(trt)} refuses the graph: {_refusals(parser)}.")

    config = builder.create_builder_config()
    # The stain step needs full float32: TF32 keeps 10 bits of a difference of logarithms.
    config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    shapes = [(batch, *INPUT_SHAPE) for batch in (BATCH_MIN, BATCH_BEST, BATCH_MAX)]
    profile.set_shape(INPUT, *shapes)
    config.add_optimization_profile(profile)
    if timing_cache is not None:
        _use_timings(config, timing_cache)

    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ConversionError(f"{_title(trt)} cannot build an engine: {_reason(log)}")
    timings = config.get_timing_cache() if timing_cache is not None else None
    if timings is not None:
        timing_cache.write_bytes(bytes(timings.serialize()))
    return bytes(engine)


def load(trt: ModuleType, engine: bytes) -> Runner:
    """Load a serialised engine on the first GPU.

    Raises
    ------
    ConversionError
        If TensorRT refuses the engine; raised by the runner if the GPU fails.
    """
    log = _collector(trt)
    runtime = _started(trt, log, trt.Runtime)
    loaded = runtime.deserialize_cuda_engine(engine)
    if loaded is None:
        raise ConversionError(f"{_title(trt)} cannot load the engine: {_reason(log)}")
    context = loaded.create_execution_context()
    if context is None:
        raise ConversionError(f"{_title(trt)} cannot prepare the engine: {_reason(log)}")
    order = [loaded.get_tensor_name(number) for number in range(loaded.num_io_tensors)]

    def run(images: np.ndarray, _keep: object = (runtime, loaded)) -> Outputs:
        context.set_input_shape(INPUT, images.shape)
        tensors = {
            name: np.empty(tuple(context.get_tensor_shape(name)), dtype)
            for name, (dtype, _) in OUTPUTS.items()
        }
        buffers = {INPUT: np.ascontiguousarray(images), **tensors}
        with cuda.on_gpu([buffers[name] for name in order]) as addresses:
            if not context.execute_v2(addresses):
                raise ConversionError(f"{_title(trt)} cannot run the engine: {_reason(log)}")
        return tensors

    return run


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        return None


def _title(trt: ModuleType) -> str:
    return f"TensorRT{'-RTX' if 'rtx' in trt.__name__ else ''} {trt.__version__}"


def _started(trt: ModuleType, log: object, kind: type) -> object:
    """Make a builder or runtime, whose constructor raises TypeError where CUDA does not start."""
    try:
        return kind(log)
    except TypeError as error:
        raise ConversionError(f"{_title(trt)} does not start: {_reason(log)}") from error


def _use_timings(config: object, file: Path) -> None:
    """Begin with the timings of former builds; those that do not fit count as none."""
    for known in (file.read_bytes() if file.is_file() else b"", b""):
        timings = config.create_timing_cache(known)
        if timings is not None and config.set_timing_cache(timings, ignore_mismatch=False):
            return


def _collector(trt: ModuleType) -> object:
    """A logger that keeps errors for the exception's message instead of printing them."""

    class Collector(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: object, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Collector()


def _reason(log: object) -> str:
    return log.errors[-1] if log.errors else "no reason given"


def _refusals(parser: object) -> str:
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    texts = [
        f"{e.node_name() or 'the model'} ({e.node_operator() or 'no operator'}): "
        f"{' '.join(e.desc().split())}"
        for e in errors[:_MOST_REFUSALS]
    ]
    more = len(errors) - _MOST_REFUSALS
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m conversion.tensorrt_engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, files in COMMANDS.items():
        command = commands.add_parser(name)
        for file in files:
            command.add_argument(file, type=Path)
    arguments = parser.parse_args(argv)
    try:
        reason = obstacle()
        if reason:
            raise ConversionError(f"Cannot build or run engines: {reason}.")
        device, trt = gpu(), tensorrt()
        if arguments.command == "host":
            print(Host("TensorRT", trt.__version__, device, driver()).to_json())
        elif arguments.command == "build":
            _build(trt, device, arguments.onnx, arguments.plan)
        else:
            _run(trt, device, arguments.plan, arguments.images, arguments.outputs)
    except (ConversionError, OSError) as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    return 0


def _build(trt: ModuleType, device: Gpu, onnx: Path, plan: Path) -> None:
    graph = onnx.read_bytes()
    # Timings are valid for one version and GPU type only.
    cache = plan.with_name(f"timing-{trt.__version__}-{device.compute_capability}.cache")
    engine = build(trt, graph, timing_cache=cache)
    plan.write_bytes(engine)
    sidecar = Sidecar.describe(trt.__version__, device, graph, engine)
    sidecar_file(plan).write_text(sidecar.to_json())


def _run(trt: ModuleType, device: Gpu, plan: Path, images: Path, outputs: Path) -> None:
    engine = load(trt, plan.read_bytes())
    np.savez(
        outputs,
        **infer(engine, np.load(images), batches=ENGINE_BATCHES),
        tensorrt=trt.__version__,
        gpu=device.name,
        compute_capability=device.compute_capability,
    )


if __name__ == "__main__":
    sys.exit(main())
