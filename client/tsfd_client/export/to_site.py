"""The page of ``tsfd view`` as a folder for a web server."""

from __future__ import annotations

from tsfd_client.view.site import write

__all__ = ["write"]
