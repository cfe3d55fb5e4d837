"""`python -m conversion`: what it installs, and that a failure leaves everything as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from conversion import install, parity, to_onnx
from conversion.__main__ import main
from conversion.errors import ConversionError
from conversion.model_io import ENGINE_SOURCE, PARITY_DATA
from conversion.parity_data import ParityData
from conversion.runtimes import Outputs
from serving.environment import ROOT
from tests.exported import exported
from tests.repository import make
from training.exported import file_sha256, source_sha256

LITE = ROOT / "weights" / "lite.npz"


def _arguments(saved_model: Path, repository: Path, *more: str) -> list[str]:
    out = repository.parent / "out"
    return [
        *("--saved-model", str(saved_model)),
        *("--repository", str(repository)),
        *("--out", str(out)),
        *more,
    ]


def _release(repository: Path) -> dict:
    return json.loads((repository / "nuclei_postprocess/1/release.json").read_text())


@pytest.mark.usefixtures("converted_once")
def test_cpu_target_installs_and_reports(
    saved_model: Path,
    model: onnx.ModelProto,
    reference: Outputs,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(_arguments(saved_model, repository, "--targets", "cpu"))

    folder = repository / "tsfd_net" / "1"
    captured = capsys.readouterr()
    assert code == 0, captured.out + captured.err
    assert (folder / "model.onnx").read_bytes() == model.SerializeToString()
    assert {path.name for path in folder.iterdir()} == {"model.onnx", ENGINE_SOURCE, PARITY_DATA}
    source = (repository.parent / "out" / "model.fp16.onnx").read_bytes()
    assert (folder / ENGINE_SOURCE).read_bytes() == source
    expected = ParityData.read(folder / PARITY_DATA)
    assert (expected.images == parity.tiles()).all()
    assert expected.tolerance == parity.HALF
    assert all((expected.outputs[name] == reference[name]).all() for name in reference)
    report = json.loads((repository.parent / "out" / "parity.json").read_text())
    assert [entry["form"] for entry in report] == ["ONNX", "FP16 ONNX", "CPU target (OpenVINO)"]
    assert all(entry["failures"] == [] for entry in report)
    said = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    assert (said["preset"], said["weights_sha256"]) == ("lite", file_sha256(LITE))
    release = _release(repository)
    assert re.fullmatch("lite-[0-9a-f]{12}", release["release"])
    assert release["weights_sha256"] == file_sha256(LITE)
    assert release["parameters"].keys() == {
        "foreground_threshold",
        "boundary_threshold",
        "min_area",
        "min_confidence",
    }


@pytest.mark.usefixtures("converted_once")
def test_briefly_it_says_what_became_of_it(
    saved_model: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert = [*_arguments(saved_model, repository, "--targets", "cpu"), "--brief"]
    assert (main(convert), main(convert)) == (0, 0)
    release = _release(repository)["release"]
    assert capsys.readouterr().out.splitlines() == [
        "Converting the network and proving every form of it ...",
        f"{repository} holds release {release}, proven equal to its SavedModel.",
        f"{repository} is up to date with release {release}.",
    ]


@pytest.mark.usefixtures("converted_once")
def test_what_is_installed_follows_content_not_times(
    saved_model: Path,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An export older than what is installed of others is converted and installed."""
    others = tmp_path / "saved_model_of_others"
    shutil.copytree(saved_model, others)
    made_of = json.loads((saved_model / "assets.extra/network.json").read_text())
    parameters, target = made_of["parameters"], made_of["target"]
    changed = parameters | {"min_area": 60}
    exported("lite", "0" * 64, source_sha256(), changed, target).write(others)
    for path in saved_model.rglob("*"):
        os.utime(path, (0, 0))
    convert = _arguments(saved_model, repository, "--targets", "cpu")
    installed = repository / "tsfd_net" / "1" / "model.onnx"
    assert main(_arguments(others, repository, "--targets", "cpu")) == 0
    former, former_content = _release(repository), installed.read_bytes()

    assert main(convert) == 0

    release, content = _release(repository), installed.read_bytes()
    assert (former["weights_sha256"], former["parameters"]["min_area"]) == ("0" * 64, 60)
    assert (release["weights_sha256"], release["parameters"]) == (file_sha256(LITE), parameters)
    assert release["release"] != former["release"]
    assert b"0" * 64 in former_content
    assert file_sha256(LITE).encode() in content

    # The same once more: nothing is made, whatever the times say.
    def fail(folder: Path) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(to_onnx, "convert", fail)
    for path in saved_model.rglob("*"):
        os.utime(path)
    capsys.readouterr()
    assert main(convert) == 0
    assert capsys.readouterr().out == (
        f"{repository} is up to date with release {release['release']}.\n"
    )

    # Another post-processing makes another release of the same network.
    (repository / "nuclei_postprocess/1/instances/extract.py").write_text("# changed\n")
    assert main(convert) == 0
    assert _release(repository)["release"] != release["release"]
    assert installed.read_bytes() == content


def test_make_compares_contents_whatever_the_times(tmp_path: Path) -> None:
    old = tmp_path / "old.npz"
    shutil.copy(LITE, old)
    os.utime(old, (0, 0))
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}

    for goal in ("convert", "demo", "serve"):
        shown = subprocess.run(
            ["make", "--dry-run", goal, f"WEIGHTS={old}"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=environment,
        ).stdout

        assert f'-m training.export --weights "{old}" --out build/saved_model' in shown, goal
        assert "-m conversion" in shown, goal


def test_what_make_was_told_to_convert_is_served_until_a_plain_convert(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "client/pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "build").mkdir()
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}

    def shown(*goal: str) -> str:
        return subprocess.run(
            ["make", "--dry-run", *goal],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env=environment,
        ).stdout

    assert "-m conversion" in shown("serve")
    assert "touch build/chosen" in shown("convert", "INT8=images")
    (tmp_path / "build/chosen").touch()
    assert "-m conversion" not in shown("serve")
    assert "-m conversion" in shown("serve", "WEIGHTS=others.npz")
    assert "rm -f build/chosen" in shown("convert")
    assert "build/chosen" not in shown("test")
    assert "-m conversion" not in shown("test")


@pytest.mark.usefixtures("converted_once")
def test_what_a_user_has_converted_survives_tests(
    saved_model: Path, repository: Path, tmp_path: Path
) -> None:
    theirs = {"tsfd_net/1/model.onnx": "theirs", "nuclei_postprocess/1/release.json": "theirs"}
    install.version_folder(repository)
    for name, content in theirs.items():
        (repository / name).write_text(content)
    own = tmp_path / "tests"
    shutil.copytree(saved_model, own / "saved_model")
    stale = own / "model_repository" / "nuclei_postprocess" / "1" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.touch()

    assert make(repository, own) == 0

    for name, content in theirs.items():
        assert (repository / name).read_text() == content
        assert (own / "model_repository" / name).read_bytes() != content.encode()
    assert not stale.exists()


@pytest.mark.usefixtures("converted_once", "rtx")
def test_a_check_that_is_asked_for_is_done_and_installs_nothing(
    saved_model: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(saved_model, repository, "--targets", "check")) == 0

    assert "TensorRT-RTX accepts the FP16 graph" in capsys.readouterr().out
    assert not (repository / "nuclei_postprocess/1/release.json").exists()
    assert not any((repository / "tsfd_net/1").iterdir())


@pytest.mark.usefixtures("converted_once")
def test_being_up_to_date_needs_no_tensorflow(saved_model: Path, repository: Path) -> None:
    arguments = _arguments(saved_model, repository, "--targets", "cpu")
    assert main(arguments) == 0

    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nfrom conversion.__main__ import main\n"
            f"assert main({arguments!r}) == 0\n"
            "assert not {'tensorflow', 'skimage', 'numba', 'onnxruntime'} & set(sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert "is up to date with release lite-" in result.stdout


@pytest.mark.usefixtures("converted_once")
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
    assert not (repository / "nuclei_postprocess/1/release.json").exists()


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
        install.write({occupied: b"new"})

    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (occupied / "precious").read_text() == "kept"


def test_files_are_installed_together_or_not_at_all(tmp_path: Path) -> None:
    first, second = tmp_path / "model.onnx", tmp_path / "no_folder" / "release.json"
    first.write_bytes(b"the former one")

    with pytest.raises(ConversionError, match=r"Cannot write .*release\.json: No such file"):
        install.write({first: b"new", second: b"new"})

    assert first.read_bytes() == b"the former one"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_saved_model_that_does_not_say_what_it_holds(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(tmp_path / "none", repository)) == 1
    assert capsys.readouterr().err == (
        f"conversion: {tmp_path / 'none'} is not a SavedModel that says which weights it holds: "
        "write one with `make export`, or name its folder with --saved-model.\n"
    )


def test_a_repository_without_post_processing(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(saved_model, tmp_path)) == 1
    assert capsys.readouterr().err == (
        f"conversion: {tmp_path} has no nuclei_postprocess/1/instances: name a whole model "
        "repository with --repository.\n"
    )
