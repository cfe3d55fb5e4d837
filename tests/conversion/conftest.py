"""The shipped network, converted once for all tests here and run once by each runtime."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import instances
import onnx
import pytest

from conversion import convert as conversion
from conversion import parity, runtimes, tensorrt_engine
from conversion.fp16 import to_fp16
from conversion.release import Precision, Provenance, provenance_of, read_network
from conversion.runtimes import Outputs, Runner
from training import export
from training.exported import is_current
from training.quiet import quiet_tensorflow

with quiet_tensorflow():  # before pytest captures what is written
    from conversion import to_onnx

ROOT = Path(__file__).parents[2]
LITE = ROOT / "weights" / "lite.npz"
MADE = ROOT / "build" / "tests"


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights, exported: a copy of what `make test` has made, where that fits."""
    folder = tmp_path_factory.mktemp("conversion") / "saved_model"
    if is_current(MADE / "saved_model", LITE):
        return Path(shutil.copytree(MADE / "saved_model", folder))
    assert export.main(["--weights", str(LITE), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def model(saved_model: Path) -> onnx.ModelProto:
    return _made("model.onnx", saved_model) or to_onnx.convert(saved_model)


@pytest.fixture(scope="session")
def half(model: onnx.ModelProto, saved_model: Path) -> onnx.ModelProto:
    return _made("model.fp16.onnx", saved_model) or to_fp16(model)


def _made(name: str, saved_model: Path) -> onnx.ModelProto | None:
    """What `make test` has converted before, if the code at hand would make the same."""
    path = MADE / "conversion" / name
    if provenance_of(path) == Provenance.of(read_network(saved_model), Precision()):
        return onnx.load(path)
    return None


@pytest.fixture(scope="session")
def reference(saved_model: Path) -> Outputs:
    """What the SavedModel says about the parity tiles."""
    return runtimes.infer(runtimes.saved_model(saved_model), parity.tiles())


@pytest.fixture(scope="session")
def served(saved_model: Path) -> parity.Served:
    """As the shipped weights want it."""
    network = read_network(saved_model)
    names = tuple(kind["name"] for kind in network.target["classes"])
    return parity.Served(instances.Parameters(**network.parameters), names)


@pytest.fixture(scope="session")
def run_once() -> Callable[[Callable[[Path], Runner], Path], Outputs]:
    """Run a runtime on the parity tiles; the same graph on the same runtime runs once."""
    known: dict[tuple[str, str], Outputs] = {}

    def run(load: Callable[[Path], Runner], path: Path) -> Outputs:
        graph = onnx.load(path).graph.SerializeToString(deterministic=True)
        key = load.__name__, hashlib.sha256(graph).hexdigest()
        if key not in known:
            known[key] = runtimes.infer(load(path), parity.tiles())
        return known[key]

    return run


@pytest.fixture
def converted_once(
    model: onnx.ModelProto,
    half: onnx.ModelProto,
    reference: Outputs,
    run_once: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`conversion` takes conversions and outputs of the shipped network from the fixtures above."""
    onnx_runtime, openvino = runtimes.onnx_runtime, runtimes.openvino
    infer = runtimes.infer
    monkeypatch.setattr(to_onnx, "convert", lambda folder: model)
    monkeypatch.setattr(conversion, "to_fp16", lambda m: half if m is model else to_fp16(m))
    monkeypatch.setattr(runtimes, "saved_model", lambda folder: reference)
    monkeypatch.setattr(runtimes, "onnx_runtime", lambda path: run_once(onnx_runtime, path))
    monkeypatch.setattr(runtimes, "openvino", lambda path: run_once(openvino, path))
    monkeypatch.setattr(
        runtimes, "infer", lambda run, tiles: infer(run, tiles) if callable(run) else run
    )


@pytest.fixture(scope="session")
def rtx() -> ModuleType:
    """NVIDIA's parser and builder that need no GPU."""
    found = tensorrt_engine.tensorrt_rtx()
    if found is None:
        pytest.skip(f"TensorRT-RTX is not installed ({tensorrt_engine.INSTALL_CHECK})")
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with instance extraction and no built network."""
    folder = tmp_path / "model_repository"
    shutil.copytree(
        ROOT / "model_repository" / "nuclei_postprocess",
        folder / "nuclei_postprocess",
        ignore=shutil.ignore_patterns("release.json", "__pycache__"),
    )
    return folder
