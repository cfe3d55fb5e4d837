"""Fetch a file from its store; what broke off is taken up where it stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import main_thread
from typing import IO, Any, Final

from tsfd_client.errors import ImageError, TsfdError, unwritable
from tsfd_client.remote.address import Address
from tsfd_client.remote.trouble import LOG, Trouble, missing, trouble_of

_CHUNK: Final = 8 << 20  # bytes per request, halved whenever a try brings nothing
_LEAST: Final = 1 << 18
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds; a try that brings something is free
_CONNECTS: Final = 30.0  # seconds
_SILENT: Final = 30.0
_MARKS: Final = ("ETag", "etag", "LastModified", "Last-Modified", "last_modified", "mtime")
"""What tells that a file has changed, by the names that fsspec's file systems have for it."""


class ChangedError(ImageError):
    """The file on the store is no longer the one that is being fetched."""


class _NoRangesError(Exception):
    """The server gives files from their beginning only."""


@dataclass(frozen=True)
class Found:
    """A file as its store describes it.

    Attributes
    ----------
    size
        Bytes; None if the store does not say.
    version
        Tells the content from an earlier one; None if the store does not say.
    """

    size: int | None
    version: str | None


class Store:
    """The store of an address.

    Raises
    ------
    ImageError
        If its package is missing, or there is no such kind of store.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._streams = False
        self._chunk = _CHUNK
        try:
            from fsspec import url_to_fs

            options = _web_options() if address.is_web else {}
            self._system, self._path = url_to_fs(address.quoted, **options)
        except ImportError as error:
            raise missing(address) from error
        except Exception:  # which may name credentials
            raise ImageError(f"{address} is of no kind of store that can be read.") from None

    def look(self, *, patient: bool = True) -> Found:
        """Ask for the file's size and version.

        Parameters
        ----------
        patient
            Whether to try again if it cannot be reached.

        Raises
        ------
        ImageError
            If the store has no such file, refuses it, or cannot be reached; or if it is empty.
        """
        tries = 0 if patient else len(_PAUSES)
        while True:
            try:
                return self._look()
            except TsfdError:
                raise
            except Exception as error:
                trouble = trouble_of(error, self._address)
            self._pause(trouble, tries)
            tries += 1

    def fetch(self, found: Found, partial: Path, report: Callable[[int], None]) -> None:
        """Fetch the file, or the rest of it.

        Parameters
        ----------
        found
            What the store says of it.
        partial
            Where it goes; if it exists, it is the beginning of the same version.
        report
            Receives the number of bytes that are there.

        Raises
        ------
        ChangedError
            If the store has another version by now.
        ImageError
            If it cannot be fetched; what has come stays.
        OutputError
            If it cannot be written.
        """
        tries = 0
        while True:
            had = _size(partial)
            try:
                self._take_up(found, partial, report)
                return
            except _NoRangesError:
                self._streams = True
                continue
            except TsfdError:
                raise
            except Exception as error:
                trouble = trouble_of(error, self._address)
            kept = _size(partial) if self._goes_on(found) else 0
            if kept > had:
                tries = 0
            else:
                self._chunk = max(_LEAST, self._chunk // 2)
            self._pause(trouble, tries, kept)
            tries += 1

    def _look(self) -> Found:
        self._system.invalidate_cache()
        info = self._system.info(self._path)
        if info.get("type") == "directory":
            raise ImageError(f"{self._address} is a folder: name the files in it.")
        size = info.get("size")
        if size == 0:
            raise ImageError(f"{self._address} is empty.")
        marks = [str(info[name]) for name in _MARKS if info.get(name)]
        return Found(size, f"{marks[0]} {size} {self._address.query}".rstrip() if marks else None)

    def _pause(self, trouble: Trouble, tries: int, kept: int = 0) -> None:
        """Wait before another try; raise ImageError if that would not help.

        Parameters
        ----------
        kept
            Bytes that need not be fetched again.
        """
        is_last = tries == len(_PAUSES) or not main_thread().is_alive()
        if trouble.is_final or is_last:
            more = f" {kept / 1e6:,.1f} MB are kept: the same command goes on from there."
            raise ImageError(trouble.text + more * bool(kept))
        after = f" after {kept / 1e6:.1f} MB" if kept else ""
        LOG.warning("%s It is tried again%s.", trouble.text, after)
        time.sleep(_PAUSES[tries])

    def _goes_on(self, found: Found) -> bool:
        """Whether what broke off can be taken up where it stopped."""
        return not self._streams and found.size is not None and found.version is not None

    def _take_up(self, found: Found, partial: Path, report: Callable[[int], None]) -> None:
        self._check(found)
        if not self._goes_on(found):
            if _size(partial):
                LOG.warning("%s cannot be taken up in the middle: it begins anew.", self._address)
            partial.unlink(missing_ok=True)
        have = _size(partial)
        if found.size is None or have < found.size:
            with closing(self._open()) as file, _writing(partial) as out:
                try:
                    if have:
                        file.seek(have)
                    self._copy(file, out, partial, report)
                except ValueError as error:  # as fsspec says it
                    if self._streams or not self._address.is_web:
                        raise
                    raise _NoRangesError from error
        self._check(found)
        have = _size(partial)
        if found.size is not None and have < found.size:
            raise EOFError(f"it ends after {have:,} of {found.size:,} bytes")
        if found.size is not None and have > found.size:
            raise ChangedError(f"{self._address} has more bytes than its store says.")

    def _copy(
        self, file: Any, out: IO[bytes], partial: Path, report: Callable[[int], None]
    ) -> None:
        while chunk := file.read(self._chunk):
            try:
                out.write(chunk)
                out.flush()
            except OSError as error:
                raise unwritable(partial.parent, error) from error
            report(out.tell())
        try:
            os.fsync(out.fileno())
        except OSError as error:
            raise unwritable(partial.parent, error) from error

    def _open(self) -> Any:
        # Without a size, s3fs asks for the version that it finds now and for no other.
        block = 0 if self._streams else _CHUNK
        return self._system.open(self._path, "rb", block_size=block, cache_type="none")

    def _check(self, found: Found) -> None:
        if self._look() != found:
            raise ChangedError(f"{self._address} has changed on its store.")


def _web_options() -> dict[str, Any]:
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=_CONNECTS, sock_read=_SILENT)
    return {
        "client_kwargs": {"timeout": timeout, "trust_env": True},  # netrc, and proxies
        "encoded": True,  # a signature is of the address as it was written
        "headers": {"Accept-Encoding": "identity"},  # ranges are of the file as it is
    }


def _writing(partial: Path) -> IO[bytes]:
    try:
        return partial.open("ab")
    except OSError as error:
        raise unwritable(partial.parent, error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
