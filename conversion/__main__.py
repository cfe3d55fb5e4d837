"""Convert a SavedModel and install it into the model repository.

    python -m conversion --saved-model build/saved_model --repository model_repository \
        --targets cpu,check,tensorrt --int8 IMAGES --out build/conversion

Targets: ``cpu`` installs model.onnx for machines with no GPU, ``check`` has TensorRT-RTX build an
engine with no GPU, ``tensorrt`` builds and installs model.plan for this machine's GPU. With --int8
the dense convolutions compute in INT8 on both. Nothing is installed unless every form of the
network agrees with the SavedModel and every target is built.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from conversion import engine, install, parity, runtimes
from conversion.errors import ConversionError
from conversion.int8 import calibration_patches, to_int8

TARGETS = ("cpu", "check", "tensorrt")


@dataclass(frozen=True)
class Forms:
    """The ONNX files: the SavedModel's own float32, and what CPU and TensorRT are given."""

    precision: str
    tolerance: parity.Tolerance
    float32: Path
    cpu: Path
    tensorrt: Path


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        _convert(arguments)
    except ConversionError as error:
        print(f"conversion: {error}", file=sys.stderr)
        return 1
    return 0


def _convert(arguments: argparse.Namespace) -> None:
    folder = install.version_folder(arguments.repository)
    targets = _targets(arguments.targets)
    out = _output_folder(arguments.out)
    _report_misfit(folder / "model.plan")

    patches = calibration_patches(arguments.int8) if arguments.int8 else None
    forms = _write_onnx(arguments.saved_model, out, patches)
    _check_parity(arguments.saved_model, forms)
    files: dict[Path, bytes] = {}
    if "check" in targets:
        _build_check(forms)
    if "tensorrt" in targets:
        files |= _build_plan(forms.tensorrt, out, folder)
    if "cpu" in targets:
        files[folder / "model.onnx"] = forms.cpu.read_bytes()
    for path, content in files.items():
        install.write(path, content)
        print(f"Installed {path} ({len(content) / 1e6:.1f} MB).")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conversion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--saved-model", type=Path, default=Path("build/saved_model"))
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--out", type=Path, default=Path("build/conversion"))
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="IMAGES",
        help="compute in INT8; folder of H&E images of 0.25 mpp to calibrate with",
    )
    parser.add_argument(
        "--targets",
        metavar="LIST",
        help=f"some of {','.join(TARGETS)}; default: those this machine can do",
    )
    return parser


def _targets(asked: str | None) -> tuple[str, ...]:
    """The targets to do; says which are left out, why, and what to do about it."""
    obstacles = {"check": _check_obstacle(), "tensorrt": _tensorrt_obstacle()}
    if asked is None:
        for name, obstacle in obstacles.items():
            if obstacle:
                print(f"Left out {name}: {obstacle}.")
        return tuple(name for name in TARGETS if not obstacles.get(name))
    targets = tuple(name.strip() for name in asked.split(",") if name.strip())
    for name in targets:
        if name not in TARGETS:
            raise ConversionError(f"There is no target {name!r}; choose from {', '.join(TARGETS)}.")
        if obstacles.get(name):
            raise ConversionError(f"The target {name} cannot be done: {obstacles[name]}.")
    if not targets:
        raise ConversionError(f"--targets names none; choose from {', '.join(TARGETS)}.")
    return targets


def _check_obstacle() -> str | None:
    if engine.tensorrt_rtx() is None:
        return f"TensorRT-RTX is not installed; install it with `{engine.INSTALL_CHECK}`"
    return None


def _tensorrt_obstacle() -> str | None:
    if engine.gpu() is None:
        return (
            "there is no NVIDIA GPU on this machine, and an engine fits only the GPU type it was "
            "built on; run the conversion on the serving host for it"
        )
    if engine.tensorrt() is None:
        return (
            "the package tensorrt is not installed; run the conversion inside the serving "
            "container, or install the version the container has with `pip install tensorrt`"
        )
    return None


def _output_folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConversionError(
            f"Cannot make the folder {out} ({error.strerror}): choose another --out."
        ) from error
    return out


def _report_misfit(plan: Path) -> None:
    trt = engine.tensorrt()
    line = engine.misfit(plan, version=trt and trt.__version__, device=engine.gpu())
    if line:
        print(line)


def _write_onnx(saved_model: Path, out: Path, patches: np.ndarray | None) -> Forms:
    """Convert, to INT8 if there are patches to calibrate it with."""
    from conversion.fp16 import to_fp16
    from conversion.to_onnx import convert  # TensorFlow takes seconds to import

    start = time.perf_counter()
    model, path = convert(saved_model), out / "model.onnx"
    if patches is None:
        forms = Forms("FP16", parity.HALF, path, path, out / "model.fp16.onnx")
    else:
        quantised = out / "model.int8.onnx", out / "model.int8.fp16.onnx"
        forms = Forms("INT8", parity.INT8, path, *quantised)
    install.write(path, model.SerializeToString())
    if patches is not None:
        print(f"Calibrating INT8 with {len(patches)} patches.")
        model = to_int8(model, patches)
        install.write(forms.cpu, model.SerializeToString())
    install.write(forms.tensorrt, to_fp16(model).SerializeToString())
    print(f"Converted {saved_model} to ONNX in {time.perf_counter() - start:.0f} s.")
    return forms


def _check_parity(saved_model: Path, forms: Forms) -> None:
    tiles = parity.tiles()
    reference = parity.outputs(runtimes.saved_model(saved_model), tiles)
    checks = (
        ("ONNX", runtimes.onnx_runtime, forms.float32, parity.FLOAT32),
        (f"{forms.precision} ONNX", runtimes.onnx_runtime, forms.tensorrt, forms.tolerance),
        ("CPU target (OpenVINO)", runtimes.openvino, forms.cpu, forms.tolerance),
    )
    results = []
    for name, load, path, tolerance in checks:
        found = parity.outputs(load(path), tiles)
        results.append(parity.compare(name, reference, found, tolerance))
        print(results[-1].line())
    if results[0].nuclei_reference <= len(tiles):
        print("The SavedModel finds next to no nuclei here: agreement of instances says little.")
    report = forms.float32.with_name("parity.json")
    install.write(report, (json.dumps([asdict(r) for r in results], indent=2) + "\n").encode())
    failures = [f"{r.form}: {failure}" for r in results for failure in r.failures]
    if failures:
        raise ConversionError(
            f"The converted network differs from the SavedModel, so nothing was installed: "
            f"{failures[0]}; all figures are in {report}."
        )


def _build_check(forms: Forms) -> None:
    start = time.perf_counter()
    built = engine.build(engine.tensorrt_rtx(), forms.tensorrt.read_bytes())
    print(
        f"TensorRT-RTX accepts the {forms.precision} graph: engine of {len(built) / 1e6:.1f} MB in "
        f"{time.perf_counter() - start:.0f} s."
    )


def _build_plan(model: Path, out: Path, folder: Path) -> dict[Path, bytes]:
    trt, device, graph = engine.tensorrt(), engine.gpu(), model.read_bytes()
    # Timings of one version and GPU type are worthless to another.
    cache = out / f"timing-{trt.__version__}-{device.compute_capability}.cache"
    start = time.perf_counter()
    built = engine.build(trt, graph, timing_cache=cache)
    print(f"TensorRT built the engine in {time.perf_counter() - start:.0f} s.")
    sidecar = engine.sidecar(trt, device, graph, built)
    plan = folder / "model.plan"
    return {plan: built, plan.with_name("model.plan.json"): sidecar.to_json().encode()}


if __name__ == "__main__":
    sys.exit(main())
