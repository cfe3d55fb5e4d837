"""What `conversion.engine` does, with OpenVINO's exported model for an engine: needs no GPU.

python openvino_engine.py [--fault NAME] build ONNX PLAN
python openvino_engine.py [--fault NAME] run PLAN IMAGES OUTPUTS
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino

from conversion.runtimes import infer
from conversion.sidecar import Gpu, Sidecar, sidecar_file

GPU = Gpu("OpenVINO's CPU", "0.0")
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
    graph = path.read_bytes()
    network = onnx.load_from_string(graph)
    if fault == "wrong":
        for tensor in network.graph.initializer:
            if len(tensor.dims) == 4:
                values = -onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    engine = b"no engine" if fault == "unloadable" else compiled_once(network, plan.parents[2])
    sidecar = Sidecar.describe(openvino.__version__, GPU, graph, engine)
    if fault == "other network":
        sidecar = replace(sidecar, onnx_sha256="0" * 64)
    if fault == "other gpu":
        sidecar = replace(sidecar, gpu="NVIDIA H200", compute_capability="9.0")
    if fault == "other tensorrt":
        sidecar = replace(sidecar, tensorrt="10.16.0")
    plan.write_bytes(engine[: len(engine) // 2] if fault == "truncated" else engine)
    sidecar_file(plan).write_text(sidecar.to_json())
    return 0


def compiled_once(network: onnx.ModelProto, folder: Path) -> bytes:
    """The exported model; `folder` keeps it for the other tests of the session."""
    content = network.SerializeToString(deterministic=True)
    kept = folder / f"{hashlib.sha256(content).hexdigest()}.openvino"
    if not kept.is_file():
        core = openvino.Core()
        exported = core.compile_model(core.read_model(content), "CPU").export_model()
        kept.write_bytes(exported.getvalue())
    return kept.read_bytes()


def run(fault: str, plan: Path, images: Path, outputs: Path) -> int:
    if fault == "stopped":
        outputs.write_bytes(b"PK")
        return 0
    try:
        compiled = openvino.Core().import_model(plan.read_bytes(), "CPU")
    except RuntimeError:
        print("engine: The engine cannot be loaded.", file=sys.stderr)
        return 1

    def engine(tiles: np.ndarray) -> dict[str, np.ndarray]:
        results = compiled({"image": tiles})
        return {port.any_name: np.array(results[port]) for port in compiled.outputs}

    tiles = np.load(images)
    found = infer(engine, tiles[: len(tiles) // 2] if fault == "half tiles" else tiles)
    np.savez(
        outputs,
        **found,
        tensorrt=openvino.__version__,
        gpu=GPU.name,
        compute_capability=GPU.compute_capability,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
