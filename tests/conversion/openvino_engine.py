"""`conversion.openvino_engine` with faults.

python openvino_engine.py [--fault NAME] [--kept FOLDER] host
python openvino_engine.py [--fault NAME] [--kept FOLDER] build ONNX PLAN
python openvino_engine.py [--fault NAME] [--kept FOLDER] run PLAN IMAGES OUTPUTS
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from conversion import openvino_engine as real
from conversion.sidecar import Sidecar, sidecar_file

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
    parser.add_argument("--kept", type=Path, help="what other tests of the session made")
    parser.add_argument("command", choices=("host", "build", "run"))
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "host":
        return real.main(["host"])
    command = {"build": build, "run": run}[arguments.command]
    return command(arguments.fault, arguments.kept, *arguments.files)


def build(fault: str, kept: Path | None, path: Path, plan: Path) -> int:
    if fault == "refused":
        print("some lines of a container\nengine: TensorRT refuses the graph.", file=sys.stderr)
        return 1
    if fault == "silent":
        return 0
    if fault == "unloadable":
        plan.write_bytes(b"no engine")
    else:
        network = negated(path, plan.with_name("negated.onnx")) if fault == "wrong" else path
        made_once(kept, plan, network.read_bytes(), lambda: real.build(network, plan))
    here = real.host()
    sidecar = Sidecar.describe(here.version, here.gpu, path.read_bytes(), plan.read_bytes())
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


def run(fault: str, kept: Path | None, plan: Path, images: Path, outputs: Path) -> int:
    import numpy as np

    if fault == "stopped":
        outputs.write_bytes(b"PK")
        return 0
    if fault == "half tiles":
        np.save(images, np.load(images)[:5])
    try:
        key = plan.read_bytes() + images.read_bytes()
        made_once(kept, outputs, key, lambda: real.run(plan, images, outputs))
    except RuntimeError:
        print("engine: The engine cannot be loaded.", file=sys.stderr)
        return 1
    return 0


def made_once(kept: Path | None, path: Path, key: bytes, make: Callable[[], None]) -> None:
    """Make a file at `path`, or take what was made of the same key before."""
    former = kept and kept / f"{hashlib.sha256(key).hexdigest()}{path.suffix}"
    if former and former.is_file():
        shutil.copy(former, path)
        return
    make()
    if former:
        shutil.copy(path, former)


def negated(path: Path, to: Path) -> Path:
    import onnx

    network = onnx.load(path)
    for tensor in network.graph.initializer:
        if len(tensor.dims) == 4:
            values = -onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(network, to)
    return to


if __name__ == "__main__":
    sys.exit(main())
