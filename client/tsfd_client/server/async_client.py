"""The asyncio client: the same methods as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import numpy as np
import tritonclient.grpc.aio as triton

from tsfd_client.contract import MODEL
from tsfd_client.nuclei.assembly import Assembly, Results, TileResult, batches
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.release import Release
from tsfd_client.server import protocol
from tsfd_client.server.connection import TRACER, Connection, check_arguments
from tsfd_client.server.protocol import Carrier
from tsfd_client.server.regions import AsyncRegions
from tsfd_client.server.retry import Tries, explain
from tsfd_client.settings import Settings
from tsfd_client.stitching.tiling import Tile, tiling


@dataclass(kw_only=True, eq=False, repr=False)
class AsyncClient(Connection):
    """Segments images on a Triton server over gRPC; see `Connection` for the parameters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._triton = triton.InferenceServerClient(**self._channel())
        self._regions = AsyncRegions(self._triton, self.url, self.headers, self.timeout)
        self._in_flight = asyncio.Semaphore(self.max_in_flight)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and remove the memory shared with the server."""
        if not self._is_ours:  # still in use by the process that opened it
            return
        await self._regions.close()
        await self._triton.close()

    async def check(self) -> protocol.Served:
        """Check that the server works; result and errors as in `Client.check`."""
        try:
            ready = await self._triton.is_model_ready(MODEL, **self._question())
            protocol.check_ready(ready, self.url)
            model = await self._triton.get_model_metadata(MODEL, **self._question())
            protocol.check_contract(model, self.url)
            server = await self._triton.get_server_metadata(**self._question())
            release = await self._ask_release()
            (answer,) = await self._segment_tiles(protocol.CANARY, None, "check")
        except triton.InferenceServerException as error:
            raise explain(error, self.url) from error
        protocol.check_answer(answer, release, self.url)
        return protocol.Served(release, server.version)

    async def release(self) -> Release:
        """Return the release that the server serves; errors as in `Client.release`."""
        if self._release is None:
            return await Tries(self.url, self.retry_for).run_async(self._ask_release)
        return self._release

    async def _ask_release(self) -> Release:
        served = await self._triton.get_model_config(**self._describing())
        release = self._release = protocol.read_release(served, self.url)
        return release

    def _carrier(self) -> AbstractAsyncContextManager[Carrier]:
        return self._regions.region() if self.transport == "shm" else nullcontext(Carrier())

    @TRACER.start_as_current_span("segment")
    async def segment(
        self,
        image: np.ndarray,
        *,
        mpp: float | Literal["network"] = "network",
        tissue: np.ndarray | None = None,
        settings: Settings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Nuclei:
        """Find and classify every nucleus of an image.

        Parameters and errors as in `Client.segment`. Several images may be segmented concurrently;
        they share the limit of requests in flight.
        """
        check_arguments(image, settings)
        release = await self.release()
        mpp = release.mpp if mpp == "network" else mpp
        cut = tiling(image, mpp, release.mpp, tissue)
        results = await self._ask(list(cut), settings, progress)
        assembly = await asyncio.to_thread(Assembly, cut, results)
        more = await self._ask(assembly.between, settings, progress, len(results))
        if any(result.release != release.name for _, result in results + more):
            self._release = None  # the server has switched to another release
        answered = (await self.release()).with_settings(settings)
        return await asyncio.to_thread(assembly.nuclei, more, answered)

    async def _ask(
        self,
        tiles: Sequence[Tile],
        settings: Settings | None,
        progress: Callable[[int, int], None] | None,
        before: int = 0,
    ) -> Results:
        """Request the answers for some tiles; progress starts at `before` tiles."""
        results: Results = []

        async def request(batch: list[Tile]) -> None:
            async with self._in_flight:
                pixels = np.stack([tile.image for tile in batch])
                answers = await self.segment_tiles(pixels, settings=settings)
            results.extend(zip(batch, answers, strict=True))
            if progress:
                progress(before + len(results), before + len(tiles))

        pending = [asyncio.create_task(request(batch)) for batch in batches(tiles, self.batch_size)]
        try:
            await asyncio.gather(*pending)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return results

    async def segment_tiles(
        self,
        tiles: np.ndarray,
        *,
        settings: Settings | None = None,
        refused: Callable[[], None] | None = None,
    ) -> list[TileResult]:
        """Segment tiles in one request; other parameters and errors as in `Client.segment_tiles`.

        Parameters
        ----------
        refused
            Called before every retry because the server is unavailable or its queue is full.
        """
        check_arguments(tiles, settings)
        tries = Tries(self.url, self.retry_for)
        with self._span(tiles, tries):
            ask = partial(self._segment_tiles, tiles, settings, tries.request_id)
            return await tries.run_async(ask, refused)

    async def _segment_tiles(
        self, tiles: np.ndarray, settings: Settings | None, request_id: str
    ) -> list[TileResult]:
        async with self._carrier() as carrier:
            request = self._inference(carrier, tiles, settings, request_id)
            return carrier.decode(await self._triton.infer(**request), len(tiles))
