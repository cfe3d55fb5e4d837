"""Names of files as text: they may hold line breaks, and bytes that are not UTF-8."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Final

from tsfd_client.errors import OutputError

_ESCAPED: Final = ("Cc", "Zl", "Zp")  # categories of Unicode: control characters, line breaks


def shown(text: str | Path) -> str:
    r"""Make a name, or a line with names, fit to print and store; stray bytes become ``\xe9``.

    Returns
    -------
    str
        One line that UTF-8 can hold.
    """
    known = str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED else c
        for c in known
    )


def check_utf8(path: str | Path) -> None:
    """Raise OutputError unless the path of a result is UTF-8: Arrow cannot open any other."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise OutputError(
            f"{path} cannot hold results, as its name is not UTF-8: rename it or choose another."
        ) from error
