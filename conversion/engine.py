"""FP16 ONNX -> TensorRT engine: one code path for TensorRT 10 and 11 and for TensorRT-RTX.

Networks are strongly typed (the only kind TensorRT 11 has), so the float16 of the ONNX graph is
the float16 of the engine. TensorRT-RTX builds ahead of time with no GPU: a graph that its parser
refuses, TensorRT refuses too, which is what the target ``check`` is for.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from conversion.contract import BATCH_BEST, BATCH_MAX, BATCH_MIN, INPUT, INPUT_SHAPE
from conversion.errors import ConversionError

INSTALL_CHECK = (
    "pip install tensorrt-rtx-cu12-bindings==1.7.1.116 && "
    "pip install --no-deps tensorrt-rtx-cu12-libs==1.7.1.116"
)
_MOST_REFUSALS = 5  # named in one message


@dataclass(frozen=True)
class Gpu:
    """Name and compute capability (such as ``"9.0"``) of the GPU an engine is built for."""

    name: str
    compute_capability: str


@dataclass(frozen=True)
class Sidecar:
    """What an engine was built from and for; one engine fits one TensorRT and one GPU type."""

    tensorrt: str
    gpu: str
    compute_capability: str
    onnx_sha256: str
    engine_sha256: str
    batch: tuple[int, int, int] = (BATCH_MIN, BATCH_BEST, BATCH_MAX)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def tensorrt() -> ModuleType | None:
    """The installed TensorRT, or None."""
    return _imported("tensorrt")


def tensorrt_rtx() -> ModuleType | None:
    """The installed TensorRT-RTX, or None."""
    # The libraries must be in the process before the bindings look for them.
    return _imported("tensorrt_rtx_bindings") if _imported("tensorrt_rtx_libs") else None


def gpu() -> Gpu | None:
    """The first NVIDIA GPU, or None."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    name, _, capability = result.stdout.partition("\n")[0].rpartition(",")
    return Gpu(name.strip(), capability.strip()) if name else None


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
        The engine, for batches of 1 to 32 and fastest at 8.

    Raises
    ------
    ConversionError
        If the parser refuses a node (named) or the builder fails.
    """
    log = _collector(trt)
    builder = trt.Builder(log)
    # TensorRT 11 has no other kind of network and may have no flag for it.
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx_model):
        raise ConversionError(f"{_title(trt)} refuses the graph: {_refusals(parser)}.")

    config = builder.create_builder_config()
    # The stain step's float32 must be float32: TF32 keeps 10 bits of a difference of logarithms.
    config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    shapes = [(batch, *INPUT_SHAPE) for batch in (BATCH_MIN, BATCH_BEST, BATCH_MAX)]
    profile.set_shape(INPUT, *shapes)
    config.add_optimization_profile(profile)
    if timing_cache is not None:
        known = timing_cache.read_bytes() if timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)

    engine = builder.build_serialized_network(network, config)
    if engine is None:
        reason = log.errors[-1] if log.errors else "no reason given"
        raise ConversionError(f"{_title(trt)} cannot build an engine: {reason}")
    if timing_cache is not None:
        timing_cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def sidecar(trt: ModuleType, device: Gpu, onnx_model: bytes, engine: bytes) -> Sidecar:
    """Describe an engine just built."""
    return Sidecar(
        tensorrt=trt.__version__,
        gpu=device.name,
        compute_capability=device.compute_capability,
        onnx_sha256=hashlib.sha256(onnx_model).hexdigest(),
        engine_sha256=hashlib.sha256(engine).hexdigest(),
    )


def misfit(plan: Path, *, version: str | None, device: Gpu | None) -> str | None:
    """Say in one line why an installed engine cannot run here, or return None.

    Parameters
    ----------
    plan
        The engine; its sidecar lies beside it with ``.json`` added to the name.
    version
        Version of the installed TensorRT; None where there is none, which misfits nothing.
    device
        The GPU at hand; None where there is none, which misfits nothing.
    """
    if not plan.is_file():
        return None
    path = plan.with_name(plan.name + ".json")
    try:
        built = Sidecar(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return f"{plan} has no readable sidecar {path.name}: convert again to know what it fits."
    if built.engine_sha256 != hashlib.sha256(plan.read_bytes()).hexdigest():
        return f"{plan} is not the engine that its sidecar describes: convert again."
    if version is not None and built.tensorrt != version:
        return (
            f"{plan} was built by TensorRT {built.tensorrt} and will not load in the installed "
            f"{version}: convert again with --targets tensorrt."
        )
    if device is not None and built.compute_capability != device.compute_capability:
        return (
            f"{plan} was built for {built.gpu} and will not run on {device.name}: convert again "
            "with --targets tensorrt."
        )
    return None


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        return None


def _title(trt: ModuleType) -> str:
    return f"TensorRT{'-RTX' if 'rtx' in trt.__name__ else ''} {trt.__version__}"


def _collector(trt: ModuleType) -> object:
    """A logger that keeps errors for the message instead of printing them."""

    class Collector(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: object, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Collector()


def _refusals(parser: object) -> str:
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    texts = [
        f"{e.node_name() or 'the model'} ({e.node_operator() or 'no operator'}): "
        f"{' '.join(e.desc().split())}"
        for e in errors[:_MOST_REFUSALS]
    ]
    more = len(errors) - _MOST_REFUSALS
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")
