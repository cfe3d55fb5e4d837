"""The address of a slide on a store: ``s3://bucket/a.svs``, ``https://host/a.svs``.

Its credentials (``user:password@``, and everything after ``?`` in a signed one) are for fetching it
alone: it is printed and recorded without them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tsfd_client.errors import ImageError

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_CUT: Final = re.compile(r"(https?|s3|gs):/?[^/]", re.IGNORECASE)
_WEB: Final = ("http", "https")
_BUCKETS: Final = ("s3", "s3a", "gs", "gcs")  # whose keys may contain a ?
_SIGNING: Final = re.compile(
    r"(x-amz-|x-goog-|x-oss-).*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|(access_?)?token",
    re.IGNORECASE,
)
_AZURES: Final = re.compile(r"s(ig|e|p|v|r|t|pr|ip|koid|ktid|kt|ke|ks|kv)")  # beside a ``sig``
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
        scheme, rest = text.partition("://")[0].lower(), text.partition("://")[2]
        text = public = f"{scheme}://{rest}"
        if "[" in rest.partition("/")[0]:
            raise ImageError("An IPv6 address in brackets is not understood: give the host's name.")
        if "::" in text:
            raise ImageError("An address with '::' leads into an archive: name the file itself.")
        if scheme in _WEB:
            try:
                parts = urlsplit(text)
                host, _ = parts.hostname, parts.port
            except ValueError:
                host = None
            if not host or "#" in text:
                raise ImageError(
                    f"An address of {scheme}:// cannot be read: write / # ? @ as %2F %23 %3F %40 "
                    "in a password, and # as %23 in a name."
                )
            netloc = parts.netloc.rpartition("@")[2]
            public = urlunsplit((scheme, netloc, parts.path, "", ""))
        else:
            host = rest.partition("/")[0]
            if scheme in _BUCKETS:
                has_keys = "@" in host or (":" in host and not host.startswith("arn:"))
            else:
                has_keys = ":" in host.rpartition("@")[0]
                public = text.partition("?")[0]
            if has_keys:
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
    def query(self) -> str:
        """Stands for what follows a ``?`` and may tell files apart, which signatures do not."""
        said = urlsplit(self.private).query.split("&") if self.is_web else []
        names = {each.partition("=")[0] for each in said}
        signing = {name for name in names if _SIGNING.fullmatch(name)}
        if "sig" in names:
            signing |= {name for name in names if _AZURES.fullmatch(name)}
        fields = [each for each in said if each.partition("=")[0] not in signing]
        return hashlib.sha256("&".join(fields).encode()).hexdigest()[:16] if any(fields) else ""

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
    if isinstance(given, str):
        if _SCHEME.match(given.strip()):
            return Address.parse(given.strip())
        if _CUT.match(given.strip()):  # it may have a password, and is not printed
            raise ImageError("An address begins with a scheme and two slashes, as in https://.")
    return given if isinstance(given, Address) else Path(given)
