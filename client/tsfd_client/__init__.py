"""Client of the served nuclei segmentation.

with Client("localhost:8001") as client:
    nuclei = client.segment(image)  # uint8 [H, W, 3], RGB, 0.25 micrometres per pixel
"""

from tsfd_client.aio import AsyncClient
from tsfd_client.client import Client
from tsfd_client.errors import ImageError, ServerError, ServerUnavailableError, TsfdError
from tsfd_client.image import read_image
from tsfd_client.nuclei import Nuclei
from tsfd_client.save import overlay, save, write_geojson
from tsfd_client.wire import Settings, TileResult

__all__ = [
    "AsyncClient",
    "Client",
    "ImageError",
    "Nuclei",
    "ServerError",
    "ServerUnavailableError",
    "Settings",
    "TileResult",
    "TsfdError",
    "overlay",
    "read_image",
    "save",
    "write_geojson",
]
