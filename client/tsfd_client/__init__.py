"""Client of the served nuclei segmentation.

with Client("localhost:8001") as client:
    nuclei = client.segment(image)  # uint8 [H, W, 3], RGB, at the network's scale

pixels      what an image is: pictures and slides, levels, scale, resampling, tissue
stitching   overlapping tiles become nuclei
nuclei      the nuclei of an image, and every way to write them down
server      the connection to Triton
slides      a run: plan, pipeline, resuming, outputs
view, export, cli

release     what a server says it serves: scale, classes, thresholds; settings: a request's own
contract    what every server promises: names and sizes of tensors
"""

from typing import TYPE_CHECKING

from tsfd_client.errors import (
    ImageError,
    OutputError,
    ServerError,
    ServerUnavailableError,
    TsfdError,
)
from tsfd_client.nuclei.assemble import TileResult
from tsfd_client.nuclei.overlay import overlay
from tsfd_client.nuclei.plausibility import scale_warning
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.nuclei.save import save, write_geojson
from tsfd_client.pixels.image import read_image
from tsfd_client.settings import Settings

if TYPE_CHECKING:
    from tsfd_client.server.async_client import AsyncClient
    from tsfd_client.server.client import Client

__all__ = [
    "AsyncClient",
    "Client",
    "ImageError",
    "Nuclei",
    "OutputError",
    "ServerError",
    "ServerUnavailableError",
    "Settings",
    "TileResult",
    "TsfdError",
    "overlay",
    "read_image",
    "save",
    "scale_warning",
    "write_geojson",
]


def __getattr__(name: str) -> object:
    # When first asked for: reading, stitching and writing do without gRPC.
    if name == "Client":
        from tsfd_client.server.client import Client

        return Client
    if name == "AsyncClient":
        from tsfd_client.server.async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
