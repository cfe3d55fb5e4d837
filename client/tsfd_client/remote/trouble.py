"""What a store's errors mean, in words that repeat no credentials."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from tsfd_client.errors import ImageError
from tsfd_client.names import shown
from tsfd_client.remote.address import Address

LOG: Final = logging.getLogger("tsfd_client.remote")
"""Receives what goes wrong and is mended."""
_PACKAGES: Final = {
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
    "sftp": "paramiko",
}
_WAIT: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_GONE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


@dataclass(frozen=True)
class Trouble:
    """What went wrong between this machine and a store.

    Attributes
    ----------
    text
        A sentence.
    is_final
        Whether trying again would not help.
    """

    text: str
    is_final: bool


def missing(address: Address) -> ImageError:
    """The error if the package for a kind of store is not installed."""
    package = _PACKAGES.get(address.scheme, "'tsfd-client[remote]'")
    return ImageError(f"{address} needs another package: pip install {package}.")


def trouble_of(error: BaseException, address: Address) -> Trouble:
    """What an error of fsspec, or of a library below it, means."""
    for each in _behind(error):
        status = getattr(each, "status", None)
        if isinstance(status, int):
            return _answered(status, address)
        if isinstance(each, socket.gaierror):
            return Trouble(f"There is no host {address.host} to fetch {address} from.", True)
        # aiohttp's own error of this kind only holds the one that says why.
        if isinstance(each, ssl.SSLCertVerificationError) and hasattr(each, "verify_message"):
            return Trouble(
                f"The certificate of {address.host} is not trusted ({each.verify_message}): name "
                "the file of its authority in SSL_CERT_FILE (for S3 in AWS_CA_BUNDLE).",
                True,
            )
        if type(each).__name__ == "NoCredentialsError":
            return Trouble(
                f"{address} needs credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true if its bucket is public.",
                True,
            )
        if isinstance(each, ConnectionRefusedError):
            text = f"{address.host} refuses connections: {address} cannot be fetched."
            return Trouble(text, False)
        if isinstance(each, PermissionError):
            return _answered(HTTPStatus.FORBIDDEN, address)
    cause = error.__cause__ if address.is_web else None
    if isinstance(error, FileNotFoundError) and cause is None:
        return _answered(HTTPStatus.NOT_FOUND, address)
    if type(cause or error).__name__ == "ClientPayloadError":
        return Trouble(f"{address} cannot be fetched: the connection broke off.", False)
    # fsspec says of web servers that there is no file, whatever the cause.
    return Trouble(f"{address} cannot be fetched: {_plain(cause or error)}.", False)


def _behind(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that caused it."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in seen:
            seen.append(each)
            yield each
            # aiohttp keeps the system's errors as attributes.
            waiting += [getattr(each, name, None) for name in ("certificate_error", "os_error")]
            waiting += [each.__cause__, each.__context__]


def _answered(status: int, address: Address) -> Trouble:
    if status in _GONE:
        return Trouble(f"There is no file {address}.", True)
    if status in _REFUSED:
        advice = (
            "give credentials in the address (results keep none) or in ~/.netrc, or sign it anew"
            if address.is_web
            else "look at the credentials in the environment or in the store's configuration file"
        )
        return Trouble(f"{address} is refused ({int(status)}): {advice}.", True)
    is_final = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _WAIT
    return Trouble(f"{address} cannot be fetched: its server answers {status}.", is_final)


def _plain(error: BaseException) -> str:
    """An error's own words, unless they name an address, which may have credentials."""
    said = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    return shown(said).rstrip(".") if said and "://" not in said else type(error).__name__
