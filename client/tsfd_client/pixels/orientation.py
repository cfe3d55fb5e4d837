"""The orientation tag of cameras, by which viewers turn a picture.

Pixels are taken as they are stored, whatever it says: QuPath shows them so, and coordinates, label
images and the page agree with it.
"""

from __future__ import annotations

_TURNED = range(2, 9)


def remarks_on(tag: object) -> list[str]:
    """What to tell of a picture that its tag, an int from 1 to 8, turns or mirrors."""
    if tag not in _TURNED:
        return []
    return [
        f"Its orientation tag ({tag}) asks viewers to turn or mirror it; its pixels are taken as "
        "they are stored, which is how QuPath shows them."
    ]
