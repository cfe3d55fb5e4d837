"""Check objects against custom resource definitions like ``kubectl --validate=strict``."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Final

import yaml
from jsonschema import Draft4Validator
from jsonschema.exceptions import best_match

_FREE: Final = "x-kubernetes-preserve-unknown-fields"


class CrdError(ValueError):
    """An object or a folder of definitions is invalid; the message is one line."""


class Definitions:
    """The definitions in a folder, as printed by ``kubectl get crd NAME -o yaml`` or as released.

    Raises
    ------
    CrdError
        If there are none.
    """

    def __init__(self, folder: Path) -> None:
        self._schemas: dict[tuple[str, str], dict] = {}
        for path in sorted(folder.glob("*.yaml")):
            for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
                for crd in document.get("items", [document]):
                    self._add(crd["spec"])
        if not self._schemas:
            raise CrdError(f"There is no definition (*.yaml) in {folder}.")

    def _add(self, spec: dict) -> None:
        for version in spec["versions"]:
            name = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
            self._schemas[name] = _closed(version["schema"]["openAPIV3Schema"])

    def check(self, thing: dict) -> None:
        """Check an object against its definition; unknown fields are errors.

        Raises
        ------
        CrdError
            If it does not match, or has no definition.
        """
        schema = self._schemas.get((thing["apiVersion"], thing["kind"]))
        if schema is None:
            raise CrdError(f"There is no definition of {thing['apiVersion']} {thing['kind']}.")
        # OpenAPI's schema resembles draft 4. Its patterns are for Go; only those applied must
        # compile.
        error = best_match(Draft4Validator(schema).iter_errors(thing))
        if error is not None:
            where = ".".join(map(str, error.absolute_path))
            raise CrdError(f"{thing['kind']} {where}: {error.message.splitlines()[0]}")


def _closed(schema: dict) -> dict:
    """Return the schema closed to fields that it does not name."""
    closed = copy.copy(schema)
    if "properties" in schema:
        closed["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        if not schema.get(_FREE):
            closed["additionalProperties"] = False
    if isinstance(schema.get("items"), dict):
        closed["items"] = _closed(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        closed["additionalProperties"] = _closed(schema["additionalProperties"])
    return closed
