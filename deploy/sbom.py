"""Write CycloneDX bills of materials of everything that ships: ``make sbom``.

client.json      the client with all extras, in the versions of constraints.txt
server.json      the embedded server's environment, and the Triton in its wheel
container.json   what deploy/Dockerfile adds to NVIDIA's image, and that image by name

They are written to ``build/sbom`` once validated. The script runs in an environment of its own, so
it imports nothing of the project.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT: Final = Path(__file__).resolve().parents[1]
OUT: Final = ROOT / "build" / "sbom"
TRITON: Final = "2.51.0"  # in the wheel nvidia-pytriton of embedded-requirements.txt

_VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


class SbomError(RuntimeError):
    """A bill of materials cannot be written; the message says why."""


def write_client() -> None:
    """Write the bill of the client and its dependencies."""
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(name for extra in extras for name in extra)]
    resolve = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    report = _run([*resolve, "--report=-", f"--constraint={ROOT / 'constraints.txt'}", *wanted])
    lines = []
    for package in json.loads(report)["install"]:
        metadata, archive = package["metadata"], package["download_info"]["archive_info"]
        digest = archive["hashes"]["sha256"]
        lines.append(f"{metadata['name']}=={metadata['version']} --hash=sha256:{digest}")
    _write("client", "library", _bom("requirements", "-", given="\n".join(lines)))


def write_server() -> None:
    """Write the bill of the embedded server's environment."""
    bom = _bom("environment", str(ROOT / "build" / "triton-env"))
    triton = {"type": "application", "group": "nvidia", "name": "tritonserver", "version": TRITON}
    _write("server", "application", bom, triton)


def write_container() -> None:
    """Write the bill of the container: NVIDIA's image by name, and the packages added to it."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    release = re.search(r"^ARG RELEASE=(\S+)$", dockerfile, re.MULTILINE)[1]
    image = re.search(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)[1]
    kind = re.findall(r"^FROM \S+\$\{RELEASE\}(\S*)$", dockerfile, re.MULTILINE)[-1]
    base = {"type": "container", "name": image, "version": release + kind}
    bom = _bom("requirements", str(ROOT / "deploy" / "backend-requirements.txt"))
    _write("container", "container", bom, base)


def _bom(*arguments: str, given: str | None = None) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), *arguments]
    return json.loads(_run(command, given))


def _write(name: str, kind: str, bom: dict[str, Any], *others: dict[str, str]) -> None:
    """Write a bill with its subject and components that are not packages."""
    subject = {"type": kind, "bom-ref": f"tsfd-{name}", "name": f"tsfd-{name}", "version": _VERSION}
    bom["metadata"]["component"] = subject
    bom["components"] += others
    text = json.dumps(bom, indent=2) + "\n"
    invalid = JsonStrictValidator(SchemaVersion.from_version(bom["specVersion"])).validate_str(text)
    if invalid:
        raise SbomError(f"The bill of {name} is not valid CycloneDX: {invalid}")
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(text)
    print(f"{path.relative_to(ROOT)}: {len(bom['components'])} components")


def _run(command: list[str], given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise SbomError(f"{Path(command[0]).name} failed: {reason}")
    return done.stdout


def main() -> int:
    """Write all three bills; return the exit code."""
    try:
        write_client()
        write_server()
        write_container()
    except SbomError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
