"""The shipped network, converted once for all tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import onnx
import pytest

from conversion import engine
from conversion.fp16 import to_fp16
from conversion.to_onnx import convert
from training.export import export
from training.model import weights

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conversion") / "saved_model"
    network, _ = weights.load(ROOT / "weights" / "lite.npz")
    export(network, folder)
    return folder


@pytest.fixture(scope="session")
def model(saved_model: Path) -> onnx.ModelProto:
    return convert(saved_model)


@pytest.fixture(scope="session")
def half(model: onnx.ModelProto) -> onnx.ModelProto:
    return to_fp16(model)


@pytest.fixture(scope="session")
def rtx() -> ModuleType:
    """NVIDIA's parser and builder that need no GPU."""
    found = engine.tensorrt_rtx()
    if found is None:
        pytest.skip(f"TensorRT-RTX is not installed ({engine.INSTALL_CHECK})")
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with instance extraction and no built network."""
    folder = tmp_path / "model_repository"
    shutil.copytree(ROOT / "model_repository" / "nuclei_postprocess", folder / "nuclei_postprocess")
    return folder
