"""The address of a slide on a store: ``s3://bucket/a.svs``, ``https://host/a.svs``.

Its credentials (``user:password@``, and everything after ``?`` in a signed one) are for fetching it
alone: it is printed and recorded without them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tsfd_client.errors import ImageError

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_WEB: Final = ("http", "https")
_KEPT: Final = "%:/?#[]@!$&'()*+,;=~"
_IN_PARTS: Final = {".mrxs", ".vms", ".vmu", ".dcm", ".dicom", ".dic"}


@dataclass(frozen=True)
class Address:
    """Where a slide is, if not on this machine.

    Attributes
    ----------
    public
        Without credentials.
    private
        As it was given; never printed.
    """

    public: str
    private: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises
        ------
        ImageError
            If it names no file, or has credentials that its store does not take from it.
        """
        if "::" in text:
            raise ImageError("An address with '::' leads into an archive: name the file itself.")
        scheme = text.partition("://")[0].lower()
        public = text
        if scheme in _WEB:
            try:
                parts = urlsplit(text)
                host = parts.hostname
            except ValueError:
                host = None
            if not host:
                raise ImageError(f"An address of {scheme}:// names no host: look for a mistake.")
            netloc = parts.netloc.rpartition("@")[2]
            public = urlunsplit((scheme, netloc, parts.path, "", ""))
        else:
            host = text.partition("://")[2].partition("/")[0]
            user, at, _ = host.rpartition("@")
            if at and (":" in user or scheme in ("s3", "gs")):
                raise ImageError(
                    f"An address of {scheme}:// has credentials in it: give them in the "
                    "environment, or in the configuration file of its store."
                )
        address = cls(public, text)
        if "\0" in public or address.name in ("", ".", ".."):
            raise ImageError(f"{public} is no address of a file.")
        return address

    def __str__(self) -> str:
        return self.public

    @property
    def quoted(self) -> str:
        """The private address in which only what no address may contain is changed."""
        return quote(self.private, safe=_KEPT) if self.is_web else self.private

    @property
    def scheme(self) -> str:
        """``"s3"``, ``"https"``, ..."""
        return self.public.partition("://")[0].lower()

    @property
    def is_web(self) -> bool:
        """Whether a web server has it."""
        return self.scheme in _WEB

    @property
    def host(self) -> str:
        """Host, or bucket."""
        return self.public.partition("://")[2].partition("/")[0]

    @property
    def name(self) -> str:
        """Name of the file; empty if the address names none."""
        path = self.public.partition("://")[2].partition("/")[2]
        return (unquote(path) if self.is_web else path).rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Name of the file without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Suffix of the file's name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def is_in_parts(self) -> bool:
        """Whether files of this kind are nothing without others beside them."""
        return self.suffix.lower() in _IN_PARTS or self.name.upper() == "DICOMDIR"


Place = Path | Address
"""Where an image is."""


def place_of(given: str | Path | Address) -> Place:
    """An address if it looks like one, else a path.

    Raises
    ------
    ImageError
        If it looks like an address, and is none.
    """
    if isinstance(given, str) and _SCHEME.match(given):
        return Address.parse(given)
    return given if isinstance(given, Address) else Path(given)
