"""Errors of this package; each message tells users what is wrong and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_FOR_ALL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class TsfdError(Exception):
    """Base of all errors of this package."""


class ImageError(TsfdError):
    """The image cannot be used as it is."""


class ServerUnavailableError(TsfdError):
    """No server answers, or it stopped answering."""


class ServerError(TsfdError):
    """The server answered with an error, or serves something unexpected."""


class OutputError(TsfdError):
    """A result cannot be written."""


class DiskFullError(OutputError):
    """The disk is full or read-only: no other result can be written either."""


def unwritable(folder: Path, error: OSError) -> OutputError:
    """The error to raise if a folder cannot be written into."""
    # pyarrow's own messages are long.
    reason = os.strerror(error.errno) if error.errno else error
    kind = DiskFullError if error.errno in _FOR_ALL else OutputError
    return kind(f"Cannot write into {folder}: {reason}.")
