"""Install packages into an environment: ``python -m serving.packages -r requirements.txt``.

Uses uv, which takes a tenth of pip's time; falls back to pip if uv is missing, or fails because it
does not read pip's settings. Needs only Python and pip.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class PackagesError(RuntimeError):
    """Packages could not be installed; the message is the installer's reason in one line."""


def install(environment: Path, *arguments: str | Path) -> None:
    """Install into a virtual environment, which may lack pip.

    Parameters
    ----------
    environment
        Root of the environment.
    arguments
        Arguments that ``uv pip install`` and ``pip install`` both accept.

    Raises
    ------
    PackagesError
        If a package cannot be downloaded or installed.
    """
    python = environment / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    why = "uv is not installed"
    if uv.is_file():
        try:
            _run(uv, "pip", "install", "--quiet", "--python", python, *arguments)
            return
        except PackagesError as error:
            why = f"uv failed: {error}"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    _run(*pip, "install", "--quiet", *arguments)
    print(f"pip installed {' '.join(map(str, arguments))} ({why}).", flush=True)


def _run(*command: str | Path) -> None:
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith(("error: ", "cause: "))]
        reasons = [line.partition(": ")[2] for line in errors] or lines[-1:] or ["no reason given"]
        raise PackagesError(reasons[-1])


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        install(Path(sys.prefix), *sys.argv[1:])
    except PackagesError as error:
        print(f"The packages could not be installed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
