"""Build the CPU variants of the images: ``python -m deploy.image.build``, `make image`.

Builds deploy/Dockerfile and deploy/release/Dockerfile on a base made here: Debian 12 by mmdebstrap,
with the Triton that ``serving.environment`` installs. Docker is not needed. The Debian archive and
the log are kept in ``build/image`` until `make clean`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from serving.environment import REQUIREMENTS, ROOT

IMAGE: Final = "localhost/tsfd-triton:cpu"
RELEASE_IMAGE: Final = "localhost/tsfd-release:cpu"
_BASE: Final = "localhost/tsfd-triton-base"
_RELEASE: Final = "24.10"  # NVIDIA's release with the wheel's Triton, 2.51

_FOLDER: Final = ROOT / "build" / "image"
_LOG: Final = _FOLDER / "build.log"
_DEBIAN: Final = _FOLDER / "debian.tar"
_PACKAGES: Final = "python3,python3-pip,libpython3.11"
_BUILD: Final = (
    *("buildah", "build", "--layers", "--isolation=chroot", "--ulimit=nofile=1024:1024"),
    "--format=docker",  # OCI's format has no health check
    "--volume=/etc/ssl/certs:/etc/ssl/certs:ro",  # pip trusts this machine's authorities
)


class ImageError(RuntimeError):
    """The image cannot be built; the message is one line that says why and what to do."""


def build() -> None:
    """Build the base and the images, as far as they have changed.

    Raises
    ------
    ImageError
        If a program is missing or fails.
    """
    for program in ("mmdebstrap", "buildah"):
        if shutil.which(program) is None:
            raise ImageError(f"{program} is missing: apt-get install {program}")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    _LOG.unlink(missing_ok=True)
    if not _DEBIAN.is_file():
        print("Building the Debian base (a minute or two)", flush=True)
        unfinished = _DEBIAN.with_suffix(".part.tar")
        _run("mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", unfinished)
        unfinished.rename(_DEBIAN)
    shutil.copy(REQUIREMENTS, _FOLDER)
    base = f"{_BASE}:{_RELEASE}-py3"
    print(f"Building {base}", flush=True)
    _run(*_BUILD, f"--tag={base}", f"--file={Path(__file__).with_name('base.Dockerfile')}", _FOLDER)
    print(f"Building {IMAGE}", flush=True)
    arguments = {
        "BASE": _BASE,
        "RELEASE": _RELEASE,
        "ENGINES": "cpu",
        "REQUIREMENTS": REQUIREMENTS.relative_to(ROOT),
    }
    _run(
        *(*_BUILD, f"--tag={IMAGE}", f"--file={ROOT / 'deploy' / 'Dockerfile'}"),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        ROOT,
    )
    print(f"Building {RELEASE_IMAGE}", flush=True)
    _run(
        *(
            *_BUILD,
            f"--tag={RELEASE_IMAGE}",
            f"--file={ROOT / 'deploy' / 'release' / 'Dockerfile'}",
        ),
        *(f"--build-arg=BASE={_BASE}", f"--build-arg=RELEASE={_RELEASE}-py3", ROOT),
    )


def _run(*command: str | Path) -> None:
    with _LOG.open("ab") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = _LOG.read_text(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise ImageError(f"{command[0]} failed: {said[-1]}; the whole log is {_LOG}")


def main() -> int:
    """Run the command line; return the exit code."""
    began = time.monotonic()
    try:
        build()
    except ImageError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{IMAGE} and {RELEASE_IMAGE} are ready after {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
