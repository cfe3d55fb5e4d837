"""The orientation tag of cameras, by which viewers turn a picture.

Pixels are used as stored, whatever the tag says, because QuPath shows them that way; coordinates,
label images and the page follow suit.
"""

from __future__ import annotations

_TURNED = range(2, 9)


def remarks_on(tag: object) -> list[str]:
    """Warnings about a picture whose tag, an int from 1 to 8, says to turn or mirror it."""
    if tag not in _TURNED:
        return []
    return [
        f"Its orientation tag ({tag}) asks viewers to turn or mirror it; its pixels are taken as "
        "they are stored, which is how QuPath shows them."
    ]
