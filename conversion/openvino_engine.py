"""The commands of `conversion.tensorrt_engine`, with a network compiled by OpenVINO as engine.

    python3 -m conversion.openvino_engine build engine.onnx model.plan

It needs no GPU and serves to rehearse a first start (`conversion.ensure_engine`). No server can
serve such an engine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import openvino

from conversion.host_support import Host
from conversion.runtimes import ENGINE_BATCHES, Outputs, infer
from conversion.sidecar import Gpu, Sidecar, sidecar_file
from conversion.tensorrt_engine import COMMANDS


def host() -> Host:
    """This machine's OpenVINO and processor."""
    name = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    return Host("OpenVINO", openvino.__version__.partition("-")[0], Gpu(name, "none"))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m conversion.openvino_engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "host":
            print(host().to_json())
        else:
            {"build": build, "run": run}[arguments.command](*arguments.files)
    except (RuntimeError, OSError) as error:
        print(f"engine: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def build(onnx: Path, plan: Path) -> None:
    """Compile an ONNX file for the processor and write the result and its sidecar."""
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(onnx), "CPU")
    engine = compiled.export_model().getvalue()
    plan.write_bytes(engine)
    here = host()
    sidecar = Sidecar.describe(here.version, here.gpu, onnx.read_bytes(), engine)
    sidecar_file(plan).write_text(sidecar.to_json())


def run(plan: Path, images: Path, outputs: Path) -> None:
    """Run an engine on uint8 images [N, 256, 256, 3]; write its outputs and the host it ran on."""
    compiled = openvino.Core().import_model(plan.read_bytes(), "CPU")

    def engine(batch: np.ndarray) -> Outputs:
        results = compiled({"image": batch})
        return {port.any_name: np.array(results[port]) for port in compiled.outputs}

    here = host()
    np.savez(
        outputs,
        **infer(engine, np.load(images), batches=ENGINE_BATCHES),
        tensorrt=here.version,
        gpu=here.gpu.name,
        compute_capability=here.gpu.compute_capability,
    )


if __name__ == "__main__":
    sys.exit(main())
