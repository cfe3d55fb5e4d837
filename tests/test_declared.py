"""What the project and the client import is what they declare."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from serving.environment import ROOT

UNDECLARED = {
    "cyclonedx": "`make sbom` has an environment of its own",
    "jsonschema": "`make manifests` has an environment of its own",
    "model_signing": "`make release-test` has an environment of its own, and so has the container",
    "oras": "the same",
    "requests": "the same, by oras",
    "torch": "only ImageNet's weights need it; its absence is an error that says so",
    "triton_python_backend_utils": "comes with Triton",
}


def _imported(folders: list[Path]) -> set[str]:
    """Top-level modules that the Python files in `folders` import, Python's own left out."""
    modules: set[str] = set()
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module)
    return {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)


def _declared(pyproject: Path) -> set[str]:
    """Distributions that a project or one of its extras depends on."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project["optional-dependencies"].values()
    names = [*project["dependencies"], *(name for extra in extras for name in extra)]
    return {_normal(re.match(r"[\w.-]+", name)[0]) for name in names}


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize(
    ("pyproject", "folders"),
    [
        (
            ROOT / "pyproject.toml",
            [
                *(ROOT / name for name in ("bench", "conversion", "demo", "deploy", "loadtest")),
                *(ROOT / name for name in ("metrics", "samples", "serving", "training")),
                ROOT / "model_repository",
            ],
        ),
        (ROOT / "client" / "pyproject.toml", [ROOT / "client" / "tsfd_client"]),
    ],
    ids=["project", "client"],
)
def test_what_is_imported_is_declared(pyproject: Path, folders: list[Path]) -> None:
    own = {path.name for path in ROOT.iterdir()} | {"instances", "host", "pool", "tsfd_client"}
    declared = _declared(pyproject)
    distributions = packages_distributions()

    undeclared = {
        module
        for module in _imported(folders) - own - UNDECLARED.keys()
        if declared.isdisjoint(_normal(name) for name in distributions.get(module, [module]))
    }

    assert not undeclared


def test_the_builder_of_engines_is_an_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]

    assert extras["gpu"] == ["tensorrt"]
