"""What `conversion.engine` does, with OpenVINO's exported model for an engine: needs no GPU.

python openvino_engine.py [--fault NAME] build ONNX PLAN
python openvino_engine.py [--fault NAME] run PLAN IMAGES OUTPUTS
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from conversion.sidecar import Gpu, Sidecar, sidecar_file

GPU = Gpu("OpenVINO's CPU", "0.0")
VERSION = "2026.4"
FAULTS = {
    "none": "builds and runs as it should",
    "refused": "the builder gives up with a reason",
    "silent": "the builder leaves nothing behind",
    "truncated": "the file ends early",
    "unloadable": "the file is no engine",
    "other network": "built from another ONNX file",
    "other gpu": "built for another GPU",
    "other tensorrt": "built by another TensorRT",
    "stopped": "the run leaves no outputs that can be read",
    "half tiles": "the run answers for some of the images",
    "wrong": "computes something else",
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", choices=FAULTS, default="none")
    parser.add_argument("command", choices=("build", "run"))
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    return {"build": build, "run": run}[arguments.command](arguments.fault, *arguments.files)


def build(fault: str, path: Path, plan: Path) -> int:
    if fault == "refused":
        print("some lines of a container\nengine: TensorRT refuses the graph.", file=sys.stderr)
        return 1
    if fault == "silent":
        return 0
    if fault == "unloadable":
        plan.write_bytes(b"no engine")
    else:
        key = path.read_bytes() + (b"negated" if fault == "wrong" else b"")
        made_once(plan, key, lambda: compile_model(path, plan, negated=fault == "wrong"))
    sidecar = Sidecar.describe(VERSION, GPU, path.read_bytes(), plan.read_bytes())
    if fault == "other network":
        sidecar = replace(sidecar, onnx_sha256="0" * 64)
    if fault == "other gpu":
        sidecar = replace(sidecar, gpu="NVIDIA H200", compute_capability="9.0")
    if fault == "other tensorrt":
        sidecar = replace(sidecar, tensorrt="10.16.0")
    if fault == "truncated":
        plan.write_bytes(plan.read_bytes()[:1000])
    sidecar_file(plan).write_text(sidecar.to_json())
    return 0


def run(fault: str, plan: Path, images: Path, outputs: Path) -> int:
    if fault == "stopped":
        outputs.write_bytes(b"PK")
        return 0
    tiles = 5 if fault == "half tiles" else None
    try:
        key = plan.read_bytes() + str(tiles).encode()
        made_once(outputs, key, lambda: infer(plan, images, outputs, tiles))
    except RuntimeError:
        print("engine: The engine cannot be loaded.", file=sys.stderr)
        return 1
    return 0


def made_once(path: Path, key: bytes, make: Callable[[], None]) -> None:
    """Make a file at `path`, or take what another test of the session made of the same key."""
    kept = path.parents[2] / f"{hashlib.sha256(key).hexdigest()}{path.suffix}"
    if kept.is_file():
        shutil.copy(kept, path)
    else:
        make()
        shutil.copy(path, kept)


def compile_model(path: Path, plan: Path, *, negated: bool) -> None:
    import onnx
    import openvino

    network = onnx.load(path)
    for tensor in network.graph.initializer:
        if negated and len(tensor.dims) == 4:
            values = -onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(network.SerializeToString()), "CPU")
    plan.write_bytes(compiled.export_model().getvalue())


def infer(plan: Path, images: Path, outputs: Path, tiles: int | None) -> None:
    import numpy as np
    import openvino

    from conversion import runtimes

    compiled = openvino.Core().import_model(plan.read_bytes(), "CPU")

    def engine(batch: np.ndarray) -> runtimes.Outputs:
        results = compiled({"image": batch})
        return {port.any_name: np.array(results[port]) for port in compiled.outputs}

    np.savez(
        outputs,
        **runtimes.infer(engine, np.load(images)[:tiles]),
        tensorrt=VERSION,
        gpu=GPU.name,
        compute_capability=GPU.compute_capability,
    )


if __name__ == "__main__":
    sys.exit(main())
