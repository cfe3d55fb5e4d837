"""Stream tiles to the server and handle each answer as soon as it arrives, in any order.

    python examples/stream_tiles.py slide.svs

Only a few requests are in flight at a time, so that any number of tiles needs little memory. Nuclei
are not stitched across tiles: for whole images, use `Client.segment`.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterable

from tsfd_client import AsyncClient, TileResult, read_image
from tsfd_client.stitching.tiling import Tile, tiling


async def stream(
    client: AsyncClient, tiles: Iterable[Tile], *, in_flight: int = 4
) -> AsyncIterator[tuple[Tile, TileResult]]:
    """Yield every tile with its answer, in the order of the answers."""

    async def answer(tile: Tile) -> tuple[Tile, TileResult]:
        [result] = await client.segment_tiles(tile.image[None])
        return tile, result

    pending: set[asyncio.Task[tuple[Tile, TileResult]]] = set()
    for tile in tiles:
        pending.add(asyncio.create_task(answer(tile)))
        if len(pending) == in_flight:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    for task in asyncio.as_completed(pending):
        yield await task


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument(
        "--mpp", type=float, help="micrometres per pixel, if the image does not say it"
    )
    parser.add_argument("--server", default="localhost:8001")
    arguments = parser.parse_args()

    image, mpp = read_image(arguments.image, mpp=arguments.mpp)
    async with AsyncClient(arguments.server) as client:
        scale = (await client.release()).mpp
        tiles = tiling(image, mpp or scale, scale)
        async for tile, result in stream(client, tiles):
            print(f"y {tile.y:6}  x {tile.x:6}  {len(result.nuclei):4} nuclei", flush=True)


asyncio.run(main())
