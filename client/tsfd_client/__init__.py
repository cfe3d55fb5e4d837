"""Client for nuclei segmentation served by Triton.

segment_image("slide.svs", "results")  # or segment_images: files and folders of them
open_result("results/slide").table()

with Client("localhost:8001") as client:
    nuclei = client.segment(image)  # uint8 [H, W, 3], RGB, at the network's scale

pixels      read pictures and slides: levels, scale, resampling, tissue
stitching   merge the nuclei of overlapping tiles
nuclei      the nuclei of an image and the formats they are written in
server      the connection to Triton
classes     classes of one's own: marks and their nuclei
slides      runs: pipeline, resuming, outputs
view        results in a browser
export      formats of other tools
api, cli    from Python and from the command line

release     what a server serves: scale, classes, thresholds
settings    thresholds of a request
contract    what every server promises: names and sizes of tensors
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tsfd_client.errors import (
    ImageError,
    OutputError,
    ServerError,
    ServerUnavailableError,
    TsfdError,
)
from tsfd_client.nuclei.assembly import TileResult
from tsfd_client.nuclei.overlay import overlay
from tsfd_client.nuclei.plausibility import scale_warning
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.nuclei.save import save, write_geojson
from tsfd_client.pixels.image import read_image
from tsfd_client.pixels.opening import open_image
from tsfd_client.settings import Settings

if TYPE_CHECKING:
    from tsfd_client.api.result import Result, open_result
    from tsfd_client.api.segment import segment_image, segment_images
    from tsfd_client.server.async_client import AsyncClient
    from tsfd_client.server.client import Client

__all__ = [
    "AsyncClient",
    "Client",
    "ImageError",
    "Nuclei",
    "OutputError",
    "Result",
    "ServerError",
    "ServerUnavailableError",
    "Settings",
    "TileResult",
    "TsfdError",
    "open_image",
    "open_result",
    "overlay",
    "read_image",
    "save",
    "scale_warning",
    "segment_image",
    "segment_images",
    "write_geojson",
]

# Imported on first use, because reading, stitching and writing need no gRPC.
_LATER = {
    "AsyncClient": "tsfd_client.server.async_client",
    "Client": "tsfd_client.server.client",
    "Result": "tsfd_client.api.result",
    "open_result": "tsfd_client.api.result",
    "segment_image": "tsfd_client.api.segment",
    "segment_images": "tsfd_client.api.segment",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
