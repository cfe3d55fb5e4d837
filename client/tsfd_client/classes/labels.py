"""Names and colours of the classes that marks give."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from tsfd_client.errors import TsfdError

Colour = tuple[int, int, int]
"""RGB."""

NOT_A_NUCLEUS: Final = "not a nucleus"
"""Label of what was found and is none, such as a fold or pigment."""
MISSING_NUCLEUS: Final = "missing nucleus"
"""Label of a place where a nucleus was overlooked."""
RESERVED: Final = (NOT_A_NUCLEUS, MISSING_NUCLEUS)
"""Labels that are no class."""
BACKGROUND: Final = "background"
"""What releases call their class 0, and no class can be called."""
LONGEST: Final = 60
"""Characters of a label."""
_IGNORED: Final = "Ignore*"
_UNSEEN: Final = {"Cc", "Cf", "Cs", "Co", "Cn"}  # control, format, half of a pair, unassigned
RESERVED_COLOURS: Final[dict[str, Colour]] = {
    NOT_A_NUCLEUS: (150, 150, 150),
    MISSING_NUCLEUS: (255, 255, 255),
}

PALETTE: Final[tuple[Colour, ...]] = (
    # Okabe and Ito (2008): told apart with the common forms of colour blindness.
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167)),
    # Tol (2021), muted and light: as many classes as a release may have need more.
    *((51, 34, 136), (136, 204, 238), (68, 170, 153), (17, 119, 51), (153, 153, 51)),
    *((221, 204, 119), (204, 102, 119), (136, 34, 85), (170, 68, 153)),
    *((119, 170, 221), (238, 136, 102), (238, 221, 136), (255, 170, 187), (153, 221, 255)),
    *((68, 187, 153), (187, 204, 51), (170, 170, 0)),
    *((110, 60, 20), (180, 0, 255), (0, 70, 70), (255, 0, 120), (120, 255, 60), (0, 0, 255)),
)
"""Colours for classes that come without one."""


def key(label: str) -> str:
    """What labels of one class have in common, however they are capitalised, spaced and encoded."""
    return " ".join(unicodedata.normalize("NFKC", label).lower().split())


def spelling(label: str) -> str:
    """A label without surplus spaces, and its accents in the composed form."""
    return " ".join(unicodedata.normalize("NFC", label).split())


def check_label(label: str) -> None:
    """Raise TsfdError if a label cannot be that of a class."""
    name = spelling(label)
    if not name:
        raise TsfdError("the label is empty.")
    if len(name) > LONGEST:
        raise TsfdError(f"the label {name[:20] + '...'!r} has more than {LONGEST} characters.")
    if any(unicodedata.category(character) in _UNSEEN for character in name):
        raise TsfdError(f"the label {name!a} has characters that cannot be seen: type it anew.")
    if name == _IGNORED:
        raise TsfdError(f"{_IGNORED!r} is what QuPath ignores, no class.")
    if key(label) == BACKGROUND:
        raise TsfdError(
            f"{label!r} is what is around nuclei, no class of them: say {NOT_A_NUCLEUS!r}, or use "
            "another name."
        )


def spellings(labels: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """The spelling of each class by the `key` of its labels: that of `known`, else the first."""
    found: dict[str, str] = {}
    for label in (*RESERVED, *known, *labels):
        found.setdefault(key(label), spelling(label))
    return found


def colours(
    said: Iterable[tuple[str, Colour | None]], known: Mapping[str, Colour]
) -> dict[str, Colour]:
    """The colour of each class but the reserved: that of `known`, the first said, or a free one.

    Parameters
    ----------
    said
        Labels, spelt alike, with the colours that files say.
    known
        Colours by class name.
    """
    found: dict[str, Colour | None] = dict(known)
    for label, colour in said:
        if label not in RESERVED:
            found[label] = found.get(label) or colour
    taken = [colour for colour in found.values() if colour]
    for label, colour in found.items():
        if colour is None:
            taken.append(free_colour(taken))
            found[label] = taken[-1]
    return {label: colour for label, colour in found.items() if colour}


def free_colour(taken: Iterable[Colour]) -> Colour:
    """Choose the colour of the palette that is least like those taken, and white."""
    used = _seen([*taken, (255, 255, 255)])
    apart = np.linalg.norm(_seen(PALETTE)[:, None] - used, axis=2).min(axis=1)
    return PALETTE[int(apart.argmax())]


def _seen(colours: Iterable[Colour]) -> np.ndarray:
    """Lightness, blue against yellow, and red against green, which counts less because many people
    do not see it; float64 [n, 3]."""
    red, green, blue = np.array([*colours], np.float64).T
    light = 0.3 * red + 0.6 * green + 0.1 * blue
    return np.stack([light, (blue - (red + green) / 2) / 1.5, (red - green) / 2], axis=1)
