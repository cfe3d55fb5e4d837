"""Check the compose file and the chart without a cluster: ``python deploy/validate.py``.

Wants helm, and what deploy/validate-requirements.txt installs, on the PATH or beside the Python
that runs it. Exit code 1, with what the tool says, where one is missing or finds something.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml

_DEPLOY: Final = Path(__file__).resolve().parent
_COMPOSE: Final = _DEPLOY / "compose" / "compose.yml"
_CHART: Final = _DEPLOY / "chart"
_TOOLS: Final = ("check-jsonschema", "helm", "kubernetes-validate", "checkov")
_KUBERNETES: Final = ("1.33", "1.34", "1.35")
_VALUES: Final = {
    "default": "gpus=1",
    "init": "gpus=0,models.claim=,models.init.image=registry/models:1,models.init.command={fetch}",
    "everything": "traces=http://collector:4318/v1/traces,engines.claim=engines,keda.enabled=true,"
    "serviceMonitor.enabled=true,prometheusRule.enabled=true",
}
_CUSTOM: Final = ("keda.sh/", "monitoring.coreos.com/")  # kinds that Kubernetes' schemas lack


def main() -> int:
    """Run all checks; return the exit code."""
    beside = Path(sys.executable).parent
    os.environ["PATH"] = f"{beside}{os.pathsep}{os.environ['PATH']}"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        print(
            f"{', '.join(missing)} missing: pip install -r deploy/validate-requirements.txt, and "
            "helm 4 from your distribution.",
            file=sys.stderr,
        )
        return 1
    try:
        _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", _COMPOSE)
        with tempfile.TemporaryDirectory() as folder:
            for name, values in _VALUES.items():
                _check_chart(Path(folder) / f"{name}.yaml", values)
    except subprocess.CalledProcessError as error:
        print(error.stdout, f"{error.cmd[0]} found the above.", sep="\n", file=sys.stderr)
        return 1
    print("The compose file and the chart are valid.")
    return 0


def _check_chart(rendered: Path, values: str) -> None:
    _run("helm", "lint", "--strict", _CHART, "--set", values)
    objects = _run("helm", "template", "tsfd", _CHART, "--namespace=tsfd", "--set", values)
    own = [
        document
        for document in yaml.safe_load_all(objects)
        if not document["apiVersion"].startswith(_CUSTOM)
    ]
    rendered.write_text(yaml.safe_dump_all(own))
    for version in _KUBERNETES:
        _run("kubernetes-validate", "--strict", "-k", version, rendered)
    options = ("--skip-download", "--quiet", "--compact", "--framework=kubernetes")
    _run("checkov", *options, "-f", rendered)


def _run(*command: str | Path) -> str:
    """The standard output of a command; a failed one's error has both outputs."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, command, output=done.stdout + done.stderr
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
