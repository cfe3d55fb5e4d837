"""A plan is installed once it was built, has run and agrees; OpenVINO stands in for the GPU."""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conversion import cuda, openvino_engine
from conversion.__main__ import main
from conversion.errors import ConversionError
from serving.environment import ROOT
from training.exported import file_sha256

ENGINE = Path(__file__).with_name("openvino_engine.py")
Install = Callable[[str], int]


@pytest.fixture
def install(saved_model: Path, repository: Path, converted_once: None) -> Install:
    """`python -m conversion` for the target tensorrt, with OpenVINO's engine and a fault."""

    def run(fault: str) -> int:
        kept = repository.parents[1]
        command = shlex.join([sys.executable, str(ENGINE), "--fault", fault, "--kept", str(kept)])
        return main(
            [
                *("--saved-model", str(saved_model)),
                *("--repository", str(repository)),
                *("--out", str(repository.parent / "out")),
                *("--targets", "tensorrt", "--tensorrt", command),
            ]
        )

    return run


def test_a_plan_that_ran_and_agrees_is_installed(
    install: Install, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository / "tsfd_net" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"of other weights")

    code = install("none")

    captured = capsys.readouterr()
    assert code == 0, captured.err
    plan, sidecar = folder / "model.plan", json.loads((folder / "model.plan.json").read_text())
    weights = file_sha256(ROOT / "weights" / "lite.npz")
    converted = (repository.parent / "out" / "model.fp16.onnx").read_bytes()
    assert sidecar["engine_sha256"] == file_sha256(plan)
    assert sidecar["onnx_sha256"] == hashlib.sha256(converted).hexdigest()
    assert (sidecar["preset"], sidecar["weights_sha256"]) == ("lite", weights)
    assert sidecar["gpu"] == openvino_engine.host().gpu.name
    release = json.loads((repository / "nuclei_postprocess/1/release.json").read_text())
    assert release["weights_sha256"] == weights
    report = json.loads((repository.parent / "out" / "parity.json").read_text())
    assert [(r["form"], r["failures"]) for r in report][3:] == [("TensorRT engine", [])]
    assert report[3]["nuclei"] > 50
    # One repository, one release.
    assert not (folder / "model.onnx").exists()
    assert f"Removed {folder / 'model.onnx'}, which was made from other weights." in captured.out

    assert install("none") == 0
    assert capsys.readouterr().out == (
        f"{repository} is up to date with release {release['release']}.\n"
    )


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refused", "Nothing was installed: the engine's build failed: TensorRT refuses the graph"),
        ("silent", r"Nothing was installed: `.*openvino_engine.py .*` left no .*model\.plan\."),
        ("truncated", r"Nothing was installed: .*model\.plan is not the engine that its sidecar"),
        ("unloadable", "Nothing was installed: the engine's run failed: The engine cannot be load"),
        ("other network", r"Nothing was installed: .*plan was built from another network than .*"),
        ("other gpu", "Nothing was installed: .* was built for NVIDIA H200, not for "),
        ("other tensorrt", "Nothing was installed: .* built by TensorRT 10.16.0 and will not load"),
        ("stopped", r"Nothing was installed: the engine's outputs .*\.npz cannot be read \("),
        ("half tiles", r"Nothing was installed: .* gives class_probs as uint8 \[5, 256, 256, 6\]"),
        ("wrong", "The converted network differs .*, so nothing was installed: TensorRT engine: "),
    ],
)
def test_any_fault_leaves_everything_as_it_was(
    fault: str,
    reason: str,
    install: Install,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    former = {
        repository / "tsfd_net" / "1" / "model.plan": b"the former plan",
        repository / "tsfd_net" / "1" / "model.plan.json": b"{}",
        repository / "nuclei_postprocess" / "1" / "release.json": b"the former release",
    }
    for path, content in former.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    code = install(fault)

    error = capsys.readouterr().err
    assert code == 1
    assert error.count("\n") == 1
    assert re.match(f"conversion: {reason}", error), error
    assert {path: path.read_bytes() for path in former} == former
    assert len(list((repository / "tsfd_net" / "1").iterdir())) == 2


def test_a_command_that_cannot_start(
    saved_model: Path,
    repository: Path,
    converted_once: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--saved-model", str(saved_model), "--repository", str(repository)]
    arguments += ["--out", str(repository.parent / "out"), "--targets", "tensorrt"]

    assert main([*arguments, "--tensorrt", "no-such-docker run"]) == 1
    assert capsys.readouterr().err == (
        "conversion: Nothing was installed: `no-such-docker` cannot be started (No such file or "
        "directory): give --tensorrt the command that runs conversion.tensorrt_engine.\n"
    )


def test_the_containers_script_needs_numpy_alone() -> None:
    """NVIDIA's container has TensorRT's package and numpy, and nothing of this project's."""
    script = (
        "import sys\nfrom conversion import tensorrt_engine\n"
        "own = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in own if not name.startswith(('_', 'sitecustomize'))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert {"conversion", "numpy"} == set(json.loads(result.stdout.replace("'", '"')))


@pytest.mark.parametrize(
    "arguments", [["host"], ["build", "a.onnx", "a.plan"], ["run", "a", "b", "c"]]
)
def test_no_gpu_is_one_line(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "conversion.tensorrt_engine", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PATH": ""},  # nor nvidia-smi
    )

    assert result.returncode == 1
    assert result.stderr == (
        "engine: Cannot build or run engines: there is no NVIDIA GPU on this machine, and an "
        "engine fits only the GPU type it was built on; run the conversion on the serving host "
        "for it.\n"
    )


def test_no_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)

    with pytest.raises(
        ConversionError, match=r"there is no driver \(libcuda.so.1\) here: run this"
    ):
        cuda.on_gpu([]).__enter__()
