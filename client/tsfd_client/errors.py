"""Errors of this package; each message tells users what is wrong and what to do."""

from __future__ import annotations


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
