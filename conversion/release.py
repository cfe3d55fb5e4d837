"""What is served together: the network, the post-processing and its parameters.

A SavedModel says what it was exported from; every form of the network that is made of it says so
too (an `Origin`, in the ONNX file's metadata and in the engine's sidecar). ``release.json`` beside
the post-processing names the whole, and every answer of the server carries that name. Contents are
compared, never times. Imports nothing that takes time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from conversion.errors import ConversionError

_POSTPROCESSING = Path("nuclei_postprocess", "1")


@dataclass(frozen=True)
class Network:
    """What a SavedModel was exported from: its ``assets.extra/network.json``.

    Attributes
    ----------
    preset
        Which network it is.
    weights_sha256
        Of the weights file.
    source_sha256
        Of the code that exported it.
    parameters
        Post-processing that the weights want, as `instances.Parameters` names it.
    """

    preset: str
    weights_sha256: str
    source_sha256: str
    parameters: dict[str, float | int | str]


@dataclass(frozen=True)
class Origin:
    """What a form of the network was made of.

    Attributes
    ----------
    preset, weights_sha256
        As in `Network`.
    source_sha256
        Of the code that exported and converted it.
    precision
        ``"float"``, or ``"int8"`` and a digest of the patches that set the scales.
    """

    preset: str
    weights_sha256: str
    source_sha256: str
    precision: str

    @classmethod
    def of(cls, network: Network, precision: str) -> Origin:
        """Origin of a form that the code at hand makes of `network`."""
        sources = sorted(Path(__file__).parent.glob("*.py"))
        source = _sha256(network.source_sha256.encode(), *(path.read_bytes() for path in sources))
        return cls(network.preset, network.weights_sha256, source, precision)


@dataclass(frozen=True)
class Release:
    """A network, a post-processing and its parameters: content of ``release.json``.

    Attributes
    ----------
    release
        Name: the preset and 12 digits that change with any of the three.
    preset, weights_sha256, parameters
        As in `Network`.
    postprocessing_sha256
        Of the source of the package ``instances``.
    """

    release: str
    preset: str
    weights_sha256: str
    postprocessing_sha256: str
    parameters: dict[str, float | int | str]


def read_network(saved_model: Path) -> Network:
    """What a SavedModel was exported from.

    Raises
    ------
    ConversionError
        If there is no SavedModel or it does not say so.
    """
    path = saved_model / "assets.extra" / "network.json"
    try:
        return Network(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ConversionError(
            f"{saved_model} is no SavedModel that says which weights it holds: write one with "
            "`make export`, or name its folder with --saved-model."
        ) from error


def make_release(network: Network, repository: Path) -> Release:
    """The release that a network makes with the post-processing of a repository.

    Raises
    ------
    ConversionError
        If the repository has no post-processing.
    """
    sources = sorted((repository / _POSTPROCESSING / "instances").glob("*.py"))
    if not sources:
        raise ConversionError(
            f"{repository} has no {_POSTPROCESSING}/instances: name a whole model repository with "
            "--repository."
        )
    postprocessing = _sha256(*(path.read_bytes() for path in sources))
    parameters = json.dumps(network.parameters, sort_keys=True)
    digest = _sha256(f"{network.weights_sha256} {postprocessing} {parameters}".encode())
    return Release(
        release=f"{network.preset}-{digest[:12]}",
        preset=network.preset,
        weights_sha256=network.weights_sha256,
        postprocessing_sha256=postprocessing,
        parameters=network.parameters,
    )


def release_file(repository: Path) -> Path:
    """Where the post-processing reads which release it belongs to."""
    return repository / _POSTPROCESSING / "release.json"


def to_json(record: Release | Origin) -> str:
    """A record as the content of a file."""
    return json.dumps(asdict(record), indent=2) + "\n"


def origin_of(form: Path) -> Origin | None:
    """What an installed ``model.onnx`` or ``model.plan`` was made of; None if it does not say."""
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
        return Origin(**{field.name: found[field.name] for field in fields(Origin)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
