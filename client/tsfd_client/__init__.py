"""Client of the served nuclei segmentation.

with Client("localhost:8001") as client:
    nuclei = client.segment(image)  # uint8 [H, W, 3], RGB, 0.25 micrometres per pixel

image, tiff, source       files and their scale
tiling, stitch, outline   an image is cut into tiles; nuclei at their borders are joined, with
                          versions (what a tile says of them), join (those that share pixels) and
                          between (what tiles cut is asked for again)
client, aio, connection   requests, with wire (the protocol), shm and shm_aio (shared
                          memory), retry
assemble, nuclei, save    answers become nuclei, and nuclei files
plausibility              whether the nuclei's size speaks against the scale
contract                  what the server promises: names and order of classes, colours, sizes
"""

from typing import TYPE_CHECKING

from tsfd_client.assemble import TileResult
from tsfd_client.errors import (
    ImageError,
    OutputError,
    ServerError,
    ServerUnavailableError,
    TsfdError,
)
from tsfd_client.image import read_image
from tsfd_client.nuclei import Nuclei
from tsfd_client.plausibility import scale_warning
from tsfd_client.save import overlay, save, write_geojson
from tsfd_client.settings import Settings

if TYPE_CHECKING:
    from tsfd_client.aio import AsyncClient
    from tsfd_client.client import Client

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
        from tsfd_client.client import Client

        return Client
    if name == "AsyncClient":
        from tsfd_client.aio import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
