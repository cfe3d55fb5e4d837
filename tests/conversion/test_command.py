"""`python -m conversion`: what it installs, and that a failure leaves everything as it was."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from conversion import install, to_onnx
from conversion.__main__ import main
from conversion.errors import ConversionError


def _arguments(saved_model: Path, repository: Path, *more: str) -> list[str]:
    out = repository.parent / "out"
    return [
        *("--saved-model", str(saved_model)),
        *("--repository", str(repository)),
        *("--out", str(out)),
        *more,
    ]


def test_cpu_target_installs_and_reports(
    saved_model: Path,
    model: onnx.ModelProto,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(to_onnx, "convert", lambda folder: model)  # converted once already

    code = main(_arguments(saved_model, repository, "--targets", "cpu"))

    folder = repository / "tsfd_net" / "1"
    captured = capsys.readouterr()
    assert code == 0, captured.out + captured.err
    assert (folder / "model.onnx").read_bytes() == model.SerializeToString()
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    report = json.loads((repository.parent / "out" / "parity.json").read_text())
    assert [entry["form"] for entry in report] == ["ONNX", "FP16 ONNX", "CPU target (OpenVINO)"]
    assert all(entry["failures"] == [] for entry in report)


def test_parity_failure_installs_nothing(
    saved_model: Path,
    model: onnx.ModelProto,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tampered = onnx.ModelProto()
    tampered.CopyFrom(model)
    for tensor in tampered.graph.initializer:
        if len(tensor.dims) == 4:
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    monkeypatch.setattr(to_onnx, "convert", lambda folder: tampered)
    installed = install.version_folder(repository) / "model.onnx"
    installed.write_bytes(b"the former one")

    code = main(_arguments(saved_model, repository, "--targets", "cpu"))

    error = capsys.readouterr().err
    assert code == 1
    assert error.count("\n") == 1
    assert "differs from the SavedModel, so nothing was installed: ONNX: " in error
    assert installed.read_bytes() == b"the former one"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--targets", "gpu"], "There is no target 'gpu'; choose from cpu, check, tensorrt."),
        (["--targets", ","], "--targets names none; choose from cpu, check, tensorrt."),
    ],
)
def test_wrong_targets(
    more: list[str], message: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(_arguments(repository, repository, *more))

    assert code == 1
    assert capsys.readouterr().err == f"conversion: {message}\n"


def test_missing_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none"

    code = main(_arguments(tmp_path, missing))

    assert code == 1
    assert capsys.readouterr().err == (
        f"conversion: There is no model repository {missing}: run from the project's folder, or "
        "name it with --repository.\n"
    )


def test_unwritable_version_folder(repository: Path) -> None:
    (repository / "tsfd_net").write_text("a file where the folder should be")

    with pytest.raises(
        ConversionError, match=r"Cannot write to .*tsfd_net/1 \(.+\): give yourself"
    ):
        install.version_folder(repository)


def test_a_failed_write_leaves_the_former_file(tmp_path: Path) -> None:
    occupied = tmp_path / "model.onnx"
    occupied.mkdir()
    (occupied / "precious").write_text("kept")

    with pytest.raises(ConversionError, match=r"Cannot write .*model\.onnx"):
        install.write(occupied, b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (occupied / "precious").read_text() == "kept"
