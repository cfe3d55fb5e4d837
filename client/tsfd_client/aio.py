"""The asyncio client: the same methods as coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
import tritonclient.grpc.aio as triton

from tsfd_client import wire
from tsfd_client.assemble import TileResult, assemble, batches
from tsfd_client.contract import MODEL, MPP
from tsfd_client.nuclei import Nuclei
from tsfd_client.retry import explain, wait_before_retry
from tsfd_client.settings import Settings
from tsfd_client.tiling import Tile, tiling


class AsyncClient:
    """Segments images on a Triton server over gRPC; see `Client` for the parameters."""

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        timeout: float = 60.0,
        retry_for: float = 10.0,
        max_in_flight: int = 4,
        batch_size: int = 4,
        headers: dict[str, str] | None = None,
        ssl: bool = False,
        root_certificates: str | None = None,
        private_key: str | None = None,
        certificate_chain: str | None = None,
    ) -> None:
        self.url = url
        self._timeout = timeout
        self._retry_for = retry_for
        self._batch_size = batch_size
        self._headers = headers
        self._in_flight = asyncio.Semaphore(max_in_flight)
        self._triton = triton.InferenceServerClient(
            url,
            ssl=ssl,
            root_certificates=root_certificates,
            private_key=private_key,
            certificate_chain=certificate_chain,
            channel_args=wire.CHANNEL_ARGUMENTS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._triton.close()

    async def check(self) -> None:
        """Check that a server answers and serves the model; raises as `Client.check`."""
        try:
            ready = await self._triton.is_model_ready(
                MODEL, headers=self._headers, client_timeout=5
            )
            wire.check_ready(ready, self.url)
            metadata = await self._triton.get_model_metadata(
                MODEL, headers=self._headers, client_timeout=5
            )
        except triton.InferenceServerException as error:
            raise explain(error, self.url) from error
        wire.check_metadata(metadata, self.url)

    async def segment(
        self,
        image: np.ndarray,
        *,
        mpp: float = MPP,
        settings: Settings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Nuclei:
        """Find and classify every nucleus of an image; parameters and errors as `Client.segment`.

        Several images may be under way at once: they share the limit of requests in flight.
        """
        cut = tiling(image, mpp)
        results: list[tuple[Tile, TileResult]] = []

        async def request(batch: list[Tile]) -> None:
            async with self._in_flight:
                pixels = np.stack([tile.image for tile in batch])
                answers = await self.segment_tiles(pixels, settings=settings)
            results.extend(zip(batch, answers, strict=True))
            if progress:
                progress(len(results), len(cut))

        pending = [asyncio.create_task(request(batch)) for batch in batches(cut, self._batch_size)]
        try:
            await asyncio.gather(*pending)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return await asyncio.to_thread(assemble, cut, results, image.shape[:2], mpp)

    async def segment_tiles(
        self, tiles: np.ndarray, *, settings: Settings | None = None
    ) -> list[TileResult]:
        """Segment tiles in one request; parameters and errors as `Client.segment_tiles`."""
        inputs, outputs = wire.inputs(tiles), wire.outputs()
        parameters = settings.parameters() if settings else None
        started = time.monotonic()
        attempt = 0
        while True:
            try:
                answer = await self._triton.infer(
                    MODEL,
                    inputs,
                    outputs=outputs,
                    parameters=parameters,
                    headers=self._headers,
                    client_timeout=self._timeout,
                )
                return wire.decode(answer)
            except triton.InferenceServerException as error:
                pause = wait_before_retry(
                    error,
                    url=self.url,
                    attempt=attempt,
                    waited=time.monotonic() - started,
                    patience=self._retry_for,
                )
            await asyncio.sleep(pause)
            attempt += 1
