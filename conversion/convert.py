"""Convert a SavedModel to the files that are installed in the model repository."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from conversion import engine_command, install, parity, runtimes, tensorrt_engine
from conversion.errors import ConversionError
from conversion.fp16 import to_fp16
from conversion.int8 import to_int8
from conversion.model_io import ENGINE_SOURCE, PARITY_DATA, PLAN
from conversion.parity_data import ParityData
from conversion.release import Provenance
from conversion.sidecar import sidecar_file
from training.quiet import quiet_tensorflow


@dataclass(frozen=True)
class Forms:
    """The ONNX files: the SavedModel's float32, and those for the CPU and for TensorRT."""

    precision: str
    tolerance: parity.Tolerance
    float32: Path
    cpu: Path
    tensorrt: Path


@dataclass(frozen=True)
class Made:
    """Result of a conversion.

    Attributes
    ----------
    files
        Contents of the files to install, by name.
    check
        TensorRT-RTX's verdict on the graph, if it was asked.
    """

    files: dict[str, bytes]
    check: str | None


class Gate:
    """Accepts forms that agree with the SavedModel, and reports how well they do.

    Parameters
    ----------
    reference
        The SavedModel's outputs on `parity.tiles`.
    served
        How the answers become nuclei.
    report
        File that receives the figures of all forms.
    """

    def __init__(self, reference: runtimes.Outputs, served: parity.Served, report: Path) -> None:
        self._reference = reference
        self._served = served
        self._report = report
        self._results: list[parity.Parity] = []

    def compare(
        self, form: str, found: runtimes.Outputs, tolerance: parity.Tolerance
    ) -> parity.Parity:
        """Compare a form's outputs, print the result and add it to the report."""
        result = parity.compare(form, self._reference, found, tolerance, self._served)
        print(result.line())
        self._results.append(result)
        figures = [asdict(r) for r in self._results]
        install.write({self._report: (json.dumps(figures, indent=2) + "\n").encode()})
        return result

    def check(self) -> None:
        """Raise if a form so far is outside its tolerance."""
        failures = [f"{r.form}: {failure}" for r in self._results for failure in r.failures]
        if failures:
            raise ConversionError(
                f"The converted network differs from the SavedModel, so nothing was installed: "
                f"{failures[0]}; all figures are in {self._report}."
            )


def convert(
    saved_model: Path,
    targets: Sequence[str],
    provenance: Provenance,
    served: parity.Served,
    *,
    patches: np.ndarray | None,
    command: Sequence[str],
    out: Path,
) -> Made:
    """Make the targets of a SavedModel.

    Parameters
    ----------
    saved_model
        Folder of the SavedModel.
    targets
        Some of ``cpu``, ``check`` and ``tensorrt``.
    provenance
        Recorded in every form.
    served
        How the answers become nuclei.
    patches
        uint8 [N, 256, 256, 3] to calibrate INT8 with; None computes in floating point.
    command
        Command that builds and runs engines; see `conversion.engine_command`.
    out
        Folder for ONNX files and the report.

    Raises
    ------
    ConversionError
        If a form differs from the SavedModel or a target cannot be made.
    """
    forms = _write_onnx(saved_model, provenance, patches, out)
    with ThreadPoolExecutor(1) as beside:  # the builder uses one core without Python's lock
        check = beside.submit(_build_check, forms) if "check" in targets else None
        tiles, reference, gate = _compare(saved_model, forms, served, out)
        accepted = check.result() if check else None

    files: dict[str, bytes] = {}
    if "tensorrt" in targets:
        built = out / PLAN
        try:
            start = time.perf_counter()
            sidecar = engine_command.build(command, forms.tensorrt, built)
            print(f"TensorRT built the engine in {time.perf_counter() - start:.0f} s.")
            found = engine_command.run(command, built, tiles, out)
        except ConversionError as error:
            raise ConversionError(f"Nothing was installed: {error}") from error
        gate.compare("TensorRT engine", found, forms.tolerance)
        gate.check()
        files[built.name] = built.read_bytes()
        files[sidecar_file(built).name] = sidecar.to_json(**asdict(provenance)).encode()
    if "cpu" in targets:
        files["model.onnx"] = forms.cpu.read_bytes()
    if files:  # for hosts without a fitting plan, to build one and to check it
        files[ENGINE_SOURCE] = forms.tensorrt.read_bytes()
        files[PARITY_DATA] = ParityData(tiles, reference, forms.tolerance, served).to_bytes()
    return Made(files, accepted)


def _compare(
    saved_model: Path, forms: Forms, served: parity.Served, out: Path
) -> tuple[np.ndarray, runtimes.Outputs, Gate]:
    """Return the tiles, the SavedModel's outputs and the gate that all ONNX files have passed."""
    tiles = parity.tiles()
    reference = runtimes.infer(runtimes.saved_model(saved_model), tiles)
    gate = Gate(reference, served, out / "parity.json")
    for name, load, path, tolerance in (
        ("ONNX", runtimes.onnx_runtime, forms.float32, parity.FLOAT32),
        (f"{forms.precision} ONNX", runtimes.onnx_runtime, forms.tensorrt, forms.tolerance),
        ("CPU target (OpenVINO)", runtimes.openvino, forms.cpu, forms.tolerance),
    ):
        result = gate.compare(name, runtimes.infer(load(path), tiles), tolerance)
    if result.nuclei_reference <= len(tiles):
        print("The SavedModel finds hardly any nuclei: the agreement of instances says little.")
    gate.check()
    return tiles, reference, gate


def _write_onnx(
    saved_model: Path, provenance: Provenance, patches: np.ndarray | None, out: Path
) -> Forms:
    with quiet_tensorflow():
        from conversion.to_onnx import convert as to_onnx
    start = time.perf_counter()
    model, path = to_onnx(saved_model), out / "model.onnx"
    if patches is None:
        forms = Forms("FP16", parity.HALF, path, path, out / "model.fp16.onnx")
    else:
        quantised = out / "model.int8.onnx", out / "model.int8.fp16.onnx"
        forms = Forms("INT8", parity.INT8, path, *quantised)
    _write(path, model, provenance)
    if patches is not None:
        print(f"Calibrating INT8 with {len(patches)} patches.")
        model = to_int8(model, patches)
        _write(forms.cpu, model, provenance)
    _write(forms.tensorrt, to_fp16(model), provenance)
    print(f"Converted {saved_model} to ONNX in {time.perf_counter() - start:.0f} s.")
    return forms


def _write(path: Path, model: onnx.ModelProto, provenance: Provenance) -> None:
    onnx.helper.set_model_props(model, asdict(provenance))
    install.write({path: model.SerializeToString()})


def _build_check(forms: Forms) -> str:
    start = time.perf_counter()
    built = tensorrt_engine.build(tensorrt_engine.tensorrt_rtx(), forms.tensorrt.read_bytes())
    return (
        f"TensorRT-RTX accepts the {forms.precision} graph: engine of {len(built) / 1e6:.1f} MB in "
        f"{time.perf_counter() - start:.0f} s."
    )
