"""Convert a SavedModel and install it in the model repository, unless that is up to date.

    python -m conversion --saved-model build/saved_model --repository model_repository \
        --targets cpu,check,tensorrt --int8 IMAGES --out build/conversion

Targets: ``cpu`` installs model.onnx for machines without a GPU, ``check`` makes TensorRT-RTX build
an engine, which needs no GPU, and ``tensorrt`` builds model.plan for this machine's GPU, runs and
installs it. With --int8, dense convolutions compute in INT8 in all of them. Nothing is installed
unless every target succeeds and every form of the network agrees with the SavedModel.
``release.json`` beside the post-processing and the models' configurations say what is installed.
``engine.onnx`` and ``engine.parity.npz`` are installed, too: hosts without a fitting plan use them
to build one and to check it (`conversion.ensure_engine`).
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

import numpy as np

from conversion import engine_command, install, release, tensorrt_engine
from conversion.configuration import configurations
from conversion.errors import ConversionError
from conversion.model_io import ENGINE_SOURCE, PARITY_DATA, PLAN
from conversion.sidecar import misfit, sidecar_file

TARGETS = ("cpu", "check", "tensorrt")
INSTALLED = {"cpu": "model.onnx", "tensorrt": PLAN}
_LOG = "conversion.log"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args(argv)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        with _quiet(arguments) as screen:
            outcome = _run(arguments, screen)
    except ConversionError as error:
        print(f"conversion: {error}", file=sys.stderr)
        return 1
    if outcome:
        print(outcome)
    return 0


@contextmanager
def _quiet(arguments: argparse.Namespace) -> Iterator[TextIO]:
    """Redirect output to a log file if --brief is given; yields the screen."""
    screen = sys.stdout
    if not arguments.brief:
        yield screen
        return
    with (_output_folder(arguments.out) / _LOG).open("w") as log, redirect_stdout(log):
        yield screen


def _run(arguments: argparse.Namespace, screen: TextIO) -> str | None:
    """Convert what is not installed yet; return a summary, or None if no target installs anything.

    `screen` receives a line about what takes long.
    """
    folder = install.version_folder(arguments.repository)
    targets, left_out = _targets(arguments.targets, container=arguments.tensorrt is not None)
    network = release.read_network(arguments.saved_model)
    patches = _patches(arguments.int8)
    precision = _precision(patches)
    record = release.make_release(network, precision, arguments.repository)
    described = {
        release.release_file(arguments.repository): release.to_json(record).encode(),
        **configurations(arguments.repository, record),
    }
    provenance = release.Provenance.of(network, precision)

    files: dict[Path, bytes] = {}
    remarks: list[str] = []
    check_wanted = arguments.targets is not None and "check" in targets
    if check_wanted or not _is_current(folder, targets, provenance):
        from instances import Parameters  # these imports take seconds

        from conversion.convert import convert
        from conversion.parity import Served

        print("Converting the network and proving every form of it ...", file=screen, flush=True)
        names = tuple(kind["name"] for kind in network.target["classes"])
        made = convert(
            arguments.saved_model,
            targets,
            provenance,
            Served(Parameters(**network.parameters), names),
            patches=patches,
            command=shlex.split(arguments.tensorrt or "") or engine_command.THIS_PYTHON,
            out=_output_folder(arguments.out),
        )
        files = {folder / name: content for name, content in made.files.items()}
        remarks = [made.check] if made.check else []
        remarks += [f"Left out {name}: {why}." for name, why in left_out.items()]
    if remarks:
        print(*remarks)
    if INSTALLED.keys().isdisjoint(targets):
        return None
    return _install(arguments.repository, files, described, record, provenance)


def _install(
    repository: Path,
    files: dict[Path, bytes],
    described: dict[Path, bytes],
    record: release.Release,
    provenance: release.Provenance,
) -> str:
    if not files and all(_holds(path, content) for path, content in described.items()):
        return f"{repository} is up to date with release {record.release}."
    install.write(files | described)
    for path in files:
        print(f"Installed {path} ({len(files[path]) / 1e6:.1f} MB).")
    _remove_others(install.version_folder(repository), provenance)
    return f"{repository} holds release {record.release}, proven equal to its SavedModel."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conversion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--saved-model", type=Path, default=Path("build/saved_model"))
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--out", type=Path, default=Path("build/conversion"))
    parser.add_argument(
        "--brief", action="store_true", help=f"print only a summary; the rest goes to OUT/{_LOG}"
    )
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="IMAGES",
        help="compute in INT8, calibrated with the H&E images at 0.25 mpp in this folder",
    )
    parser.add_argument(
        "--targets",
        metavar="LIST",
        help=f"some of {','.join(TARGETS)}; default: those possible on this machine",
    )
    parser.add_argument(
        "--tensorrt",
        metavar="COMMAND",
        help="command that runs conversion.tensorrt_engine in the serving container; default: this "
        "Python",
    )
    return parser


def _targets(asked: str | None, *, container: bool) -> tuple[tuple[str, ...], dict[str, str]]:
    """The targets to make, and those left out with the reason and the remedy."""
    obstacles = {"check": _check_obstacle()}
    if not container:
        obstacles["tensorrt"] = tensorrt_engine.obstacle()
    obstacles = {name: obstacle for name, obstacle in obstacles.items() if obstacle}
    if asked is None:
        return tuple(name for name in TARGETS if name not in obstacles), obstacles
    targets = tuple(name.strip() for name in asked.split(",") if name.strip())
    for name in targets:
        if name not in TARGETS:
            raise ConversionError(f"There is no target {name!r}; choose from {', '.join(TARGETS)}.")
        if name in obstacles:
            raise ConversionError(f"The target {name} cannot be made: {obstacles[name]}.")
    if not targets:
        raise ConversionError(f"--targets names none; choose from {', '.join(TARGETS)}.")
    return targets, {}


def _check_obstacle() -> str | None:
    if tensorrt_engine.tensorrt_rtx() is None:
        return f"TensorRT-RTX is not installed; install it with `{tensorrt_engine.INSTALL_CHECK}`"
    return None


def _patches(images: Path | None) -> np.ndarray | None:
    if images is None:
        return None
    from conversion.int8 import calibration_patches

    return calibration_patches(images)


def _precision(patches: np.ndarray | None) -> release.Precision:
    if patches is None:
        return release.Precision()
    return release.Precision("int8", hashlib.sha256(patches.tobytes()).hexdigest())


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _is_current(folder: Path, targets: tuple[str, ...], provenance: release.Provenance) -> bool:
    """Whether the installed files are up to date; prints why a plan does not fit."""
    trt = tensorrt_engine.tensorrt()
    unfit = misfit(folder / PLAN, version=trt and trt.__version__, device=tensorrt_engine.gpu())
    if unfit:
        print(f"{unfit}: convert again with --targets tensorrt.")
    forms = [INSTALLED[name] for name in targets if name in INSTALLED]
    return (
        not ("tensorrt" in targets and unfit)
        and (folder / PARITY_DATA).is_file()
        and all(
            release.provenance_of(folder / name) == provenance for name in [*forms, ENGINE_SOURCE]
        )
    )


def _output_folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConversionError(
            f"Cannot make the folder {out} ({error.strerror}): choose another --out."
        ) from error
    return out


def _remove_others(folder: Path, provenance: release.Provenance) -> None:
    """Remove forms of other weights, as a repository holds one release."""
    for name in INSTALLED.values():
        path = folder / name
        found = release.provenance_of(path)
        if path.is_file() and (found is None or found.weights_sha256 != provenance.weights_sha256):
            path.unlink()
            sidecar_file(path).unlink(missing_ok=True)
            print(f"Removed {path}, which was made from other weights.")


if __name__ == "__main__":
    sys.exit(main())
