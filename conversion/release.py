"""A release: the network, the post-processing and its parameters, which are served together.

A SavedModel records what it was exported from, and so does every form of the network made from it:
its `Provenance` is in the ONNX file's metadata and in the engine's sidecar. ``release.json`` beside
the post-processing describes the whole; the configuration of the served model passes the
description to clients, and every answer carries the release's name. Whether files are up to date is
decided by content, never by time. This module imports nothing that takes time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from conversion.errors import ConversionError

if TYPE_CHECKING:
    from training.exported import Exported

_POSTPROCESSING = Path("nuclei_postprocess", "1")
_FLOAT = "float"
_GRAPH = ("to_onnx.py", "rewrites.py")  # determine what is computed; for INT8 also int8.py


@dataclass(frozen=True)
class Precision:
    """Arithmetic of a network.

    Attributes
    ----------
    name
        ``"float"`` for float32, bfloat16 and FP16, which agree within tolerance, or ``"int8"``.
    patches_sha256
        Of the patches that INT8 was calibrated with.
    """

    name: str = _FLOAT
    patches_sha256: str = ""

    def __str__(self) -> str:
        return (
            f"{self.name} by patches {self.patches_sha256[:12]}"
            if self.patches_sha256
            else self.name
        )


@dataclass(frozen=True)
class Provenance:
    """What a form of the network was made from.

    Attributes
    ----------
    preset, weights_sha256, classes_sha256
        As in `training.exported.Exported`.
    source_sha256
        Of the code that exported and converted it.
    precision
        A `Precision` in words.
    """

    preset: str
    weights_sha256: str
    classes_sha256: str
    source_sha256: str
    precision: str

    @classmethod
    def of(cls, network: Exported, precision: Precision) -> Self:
        """Provenance of a form made from `network` by the current code."""
        sources = sorted(Path(__file__).parent.glob("*.py"))
        source = _sha256(network.source_sha256.encode(), *(path.read_bytes() for path in sources))
        files = network.weights_sha256, network.classes_sha256
        return cls(network.preset, *files, source, str(precision))


@dataclass(frozen=True)
class Release:
    """A server's description of what it serves: the content of ``release.json``.

    Attributes
    ----------
    release
        Name: the preset, and 12 digits that change with anything that affects answers.
    preset, weights_sha256, classes_sha256, parameters, network_classes, features
        As in `training.exported.Exported`.
    mpp
        Scale of the tiles, micrometres per pixel.
    classes
        ``name`` and ``colour`` (RGB) by class id, which begins with 1.
    precision
        ``"float"`` or ``"int8"``.
    graph_sha256
        Of the code that makes the graph, and of the patches that INT8 was calibrated with.
    postprocessing_sha256
        Of the source of the package ``instances``.
    """

    release: str
    preset: str
    mpp: float
    classes: list[dict[str, Any]]
    parameters: dict[str, float | int | str]
    network_classes: list[str]
    features: int
    precision: str
    weights_sha256: str
    classes_sha256: str
    graph_sha256: str
    postprocessing_sha256: str


def read_network(saved_model: Path) -> Exported:
    """Read what a SavedModel was exported from.

    Raises
    ------
    ConversionError
        If there is no SavedModel, or it has no such record.
    """
    from training.exported import Exported  # a serving container has no `training`

    try:
        return Exported.read(saved_model)
    except (OSError, ValueError, TypeError) as error:
        raise ConversionError(
            f"{saved_model} is not a SavedModel that says which weights it holds: write one with "
            "`make export`, or name its folder with --saved-model."
        ) from error


def make_release(network: Exported, precision: Precision, repository: Path) -> Release:
    """Describe the release of a network with the post-processing in a repository.

    Raises
    ------
    ConversionError
        If the repository has no post-processing.
    """
    described = {
        "preset": network.preset,
        **network.target,
        "parameters": network.parameters,
        "network_classes": network.network_classes,
        "features": network.features,
        "precision": precision.name,
        "weights_sha256": network.weights_sha256,
        "classes_sha256": network.classes_sha256,
        "graph_sha256": _graph(network, precision),
        "postprocessing_sha256": _postprocessing(repository),
    }
    digest = _sha256(json.dumps(described, sort_keys=True).encode())
    return Release(release=f"{network.preset}-{digest[:12]}", **described)


def _graph(network: Exported, precision: Precision) -> str:
    names = _GRAPH if precision.name == _FLOAT else (*_GRAPH, "int8.py")
    sources = (Path(__file__).with_name(name).read_bytes() for name in names)
    return _sha256(network.source_sha256.encode(), precision.patches_sha256.encode(), *sources)


def _postprocessing(repository: Path) -> str:
    sources = sorted((repository / _POSTPROCESSING / "instances").glob("*.py"))
    if not sources:
        raise ConversionError(
            f"{repository} has no {_POSTPROCESSING}/instances: name a whole model repository with "
            "--repository."
        )
    return _sha256(*(path.read_bytes() for path in sources))


def release_file(repository: Path) -> Path:
    """The file from which the post-processing reads which release it belongs to."""
    return repository / _POSTPROCESSING / "release.json"


def to_json(record: Release | Provenance) -> str:
    """Return a record as the content of a JSON file."""
    return json.dumps(asdict(record), indent=2) + "\n"


def provenance_of(form: Path) -> Provenance | None:
    """Read what an installed ``model.onnx`` or ``model.plan`` was made from, if recorded."""
    try:
        if form.suffix == ".onnx":
            import onnx
            from google.protobuf.message import DecodeError

            try:
                model = onnx.load(form, load_external_data=False)
            except DecodeError:
                return None
            found = {entry.key: entry.value for entry in model.metadata_props}
        else:
            found = json.loads(form.with_name(form.name + ".json").read_text())
        return Provenance(**{field.name: found[field.name] for field in fields(Provenance)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
