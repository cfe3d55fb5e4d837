"""The models' configurations, filled in from templates with the details of a release.

``config.template.pbtxt`` becomes ``config.pbtxt``, which Triton reads. The numbers of classes
and features determine shapes, and the ensemble's parameter ``release`` passes the description to
clients.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from string import Template

from conversion.errors import ConversionError
from conversion.release import Release

_TEMPLATE = ".template.pbtxt"


def configurations(repository: Path, release: Release) -> dict[Path, bytes]:
    """Fill in the configurations of a repository that holds a release; returns them by path.

    Raises
    ------
    ConversionError
        If the repository has no templates.
    """
    templates = sorted(repository.rglob(f"*{_TEMPLATE}"))
    if not templates:
        raise ConversionError(
            f"{repository} has no *{_TEMPLATE}: name a whole model repository with --repository."
        )
    # A JSON string, quotes included, is also a string of protobuf's text format.
    values = {
        "channels": 1 + len(release.classes),
        "features": release.features,
        "release": json.dumps(json.dumps(asdict(release), sort_keys=True)),
    }
    return {
        path.with_name(path.name.replace(_TEMPLATE, ".pbtxt")): Template(path.read_text())
        .substitute(values)
        .encode()
        for path in templates
    }
