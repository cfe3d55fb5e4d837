"""Where a server is: its host, whether that is this machine, and which proxy is in front of it."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # unlisted

from tsfd_client.errors import TsfdError

_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^][:/\s]+):([0-9]{1,5})")
_LAST_PORT: Final = 65_535
# In the order in which gRPC looks at them: the first that is set counts, even if empty.
_PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy", "NO_PROXY")


@dataclass(frozen=True)
class Proxy:
    """What gRPC connects to instead of a server.

    Attributes
    ----------
    variable
        Environment variable that names the proxy.
    address
        ``host:port``.
    """

    variable: str
    address: str


def host_of(url: str) -> str:
    """The host of ``host:port``, an IP address of version 6 without its brackets.

    Raises
    ------
    TsfdError
        If it is something else.
    """
    found = _ADDRESS.fullmatch(url) if isinstance(url, str) else None
    if not found or not 1 <= int(found[2]) <= _LAST_PORT:
        raise TsfdError(
            "The server's address must be HOST:PORT of its gRPC endpoint, such as localhost:8001 "
            f"or [::1]:8001, not {url!r}."
        )
    return found[1].strip("[]")


def is_here(url: str) -> bool:
    """Whether ``host:port`` is a loopback address, which only this machine itself can reach."""
    host = host_of(url)
    ip = _ip(host)
    return host.lower() == "localhost" if ip is None else ip.is_loopback


def proxy_of(url: str) -> Proxy | None:
    """The proxy that the environment names for a server; None if it is reached directly."""
    host = host_of(url)
    exceptions = next((os.environ[name] for name in _EXCEPTIONS if name in os.environ), "")
    if is_here(url) or proxy_bypass_environment(host, {"no": exceptions}):
        return None
    ip = _ip(host)  # Python's own rule does not know networks such as 10.0.0.0/8
    if ip and any(_contains(network.strip(), ip) for network in exceptions.split(",")):
        return None
    variable = next((name for name in _PROXIES if name in os.environ), None)
    if variable is None:
        return None
    proxy = urlsplit(os.environ[variable])
    address = proxy.netloc.rpartition("@")[2]  # without a password
    return Proxy(variable, address) if proxy.scheme == "http" and address else None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _contains(network: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return ip in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
