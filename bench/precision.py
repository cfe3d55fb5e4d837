"""Score the installed network in each precision: ``python -m bench.precision --data DATA``.

Its images are those of a ``manifest.json`` that report scores (`training.scorecard`). float32,
bfloat16 and INT8 run in OpenVINO as the server runs them, FP16 in ONNX Runtime, on the graph that
TensorRT is given. INT8 is calibrated with patches of training images. Writes ``precision.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import instances
import numpy as np
import onnx
import openvino

from bench.machine import machine
from conversion import runtimes
from conversion.errors import ConversionError
from conversion.int8 import to_int8
from conversion.model_io import ENGINE_SOURCE, INPUT, TILE
from conversion.release import release_file
from metrics.estimates import nanmean
from serving.environment import ROOT
from serving.server import ARTEFACT
from training.data.annotated import DataError
from training.data.hold_back import hold_back
from training.data.manifest import read_manifest
from training.evaluation.in_process import Answer, segment_by
from training.evaluation.segment_and_score import evaluate
from training.evaluation.sources import Source
from training.scorecard import Part, parts
from training.table import Table, show
from training.target import Target

_REPOSITORY: Final = ROOT / "model_repository"
_MOST_PATCHES: Final = 32


def calibration_patches(data: Path, mpp: float) -> np.ndarray:
    """Patches for INT8, uint8 [N, 256, 256, 3]: corners of training images, evenly spread."""
    training = hold_back(read_manifest(data, "train", mpp)).training
    chosen = np.linspace(0, len(training) - 1, min(len(training), _MOST_PATCHES)).astype(int)
    corners = [training[number].image[:TILE, :TILE] for number in chosen]
    whole = [corner for corner in corners if corner.shape[:2] == (TILE, TILE)]
    if not whole:
        raise DataError(f"No training image of {data} is as large as a patch.")
    return np.stack(whole)


def forms(repository: Path, patches: np.ndarray) -> Iterator[tuple[str, Answer]]:
    """The network in each precision of this processor, with its name."""
    model = repository / ARTEFACT
    yield "float32", _openvino(model, "f32")
    halves = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if halves:
        yield "bfloat16", _openvino(model, "bf16")
    yield "FP16", runtimes.onnx_runtime(model.with_name(ENGINE_SOURCE))
    with tempfile.TemporaryDirectory() as folder:
        int8 = Path(folder) / "int8.onnx"
        onnx.save(to_int8(onnx.load(model), patches), int8)
        yield "INT8 and float32", _openvino(int8, "f32")
        if halves:
            yield "INT8 and bfloat16", _openvino(int8, "bf16")


def _openvino(model: Path, precision: str) -> Answer:
    compiled = openvino.compile_model(
        runtimes.served_on_cpus(model), "CPU", {"INFERENCE_PRECISION_HINT": precision}
    )

    def answer(images: np.ndarray) -> runtimes.Outputs:
        results = compiled({INPUT: images})
        return {port.any_name: np.array(results[port]) for port in compiled.outputs}

    return answer


def measure(repository: Path, data: Path, names: Sequence[str] = ()) -> dict[str, object]:
    """PQ of each set in each precision, means over its images.

    Parameters
    ----------
    repository
        Model repository with a converted network.
    data
        Folder with a ``manifest.json``.
    names
        Sets; all that report if there are none.

    Raises
    ------
    DataError
        If there is no image to report, or the manifest or a file is broken.
    ConversionError
        If the repository holds a network in INT8.
    """
    release = json.loads(release_file(repository).read_text())
    if release["precision"] != "float":
        raise ConversionError(f"{repository} holds INT8: run `make convert` without INT8= first.")
    target = Target.from_dict(release)
    sets = [part for part in parts(data, target.mpp) if not names or part.name in names]
    if not sets:
        raise DataError(f"{data} has no images of {', '.join(names)} that report scores.")
    parameters = instances.Parameters(**release["parameters"])
    rows = {}
    for name, answer in forms(repository, calibration_patches(data, target.mpp)):
        segment = partial(segment_by, answer, parameters=parameters, target=target, mpp=target.mpp)
        source = Source.of(segment, [kind.name for kind in target.classes], target.mpp, {})
        print(f"{name}:", file=sys.stderr)
        rows[name] = {f"{part.name}/{part.split}": _pq(part, source) for part in sets}
    return {
        "machine": machine(),
        "release": release["release"],
        "weights_sha256": release["weights_sha256"],
        "pq": rows,
        "mean": {name: round(float(nanmean(list(row.values()))), 4) for name, row in rows.items()},
    }


def _pq(part: Part, source: Source) -> float:
    scores = evaluate(part.data, source.segment, by_tissue=False, classes=source.classes).scores
    return round(scores.overall["pq"].value, 4)


def table(figures: dict) -> Table:
    """A row per set, a column per precision."""
    forms = list(figures["pq"])
    names = list(figures["pq"][forms[0]])
    rows = [(name, *(f"{figures['pq'][form][name]:.3f}" for form in forms)) for name in names]
    mean = ("mean", *(f"{figures['mean'][form]:.4f}" for form in forms))
    return Table(f"PQ of {figures['release']}", ("data", *forms), (*rows, mean))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.precision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with a manifest.json"
    )
    parser.add_argument(
        "--set", action="append", default=[], help="only this data set; may be repeated"
    )
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        figures = measure(_REPOSITORY, arguments.data, arguments.set)
    except (DataError, ConversionError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    path = arguments.out / "precision.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    show([table(figures)])
    print(f"All in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
