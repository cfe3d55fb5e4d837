"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

import numpy as np
import tritonclient.grpc as triton

from tsfd_client import wire
from tsfd_client.assemble import TileResult, assemble, batches
from tsfd_client.contract import MODEL, MPP
from tsfd_client.nuclei import Nuclei
from tsfd_client.retry import explain, wait_before_retry
from tsfd_client.settings import Settings
from tsfd_client.shm import Regions
from tsfd_client.tiling import Tile, tiling

TRANSPORTS = ("grpc", "shm")


class Client:
    """Segments images on a Triton server over gRPC. Safe to use from several threads.

    Parameters
    ----------
    url
        ``host:port`` of the server's gRPC endpoint.
    timeout
        Seconds a request may take.
    retry_for
        Seconds to go on trying where the server is unavailable or its queue is full.
    max_in_flight
        Requests under way at a time.
    batch_size
        Tiles per request, 1 to 32.
    headers
        Sent with every request, for a proxy in front of the server.
    ssl, root_certificates, private_key, certificate_chain
        TLS, and PEM files for it; key and chain for mutual TLS.
    transport
        How tiles and instance maps travel: ``"grpc"``, or ``"shm"`` through shared memory with a
        server on this machine. Each request under way takes a region in ``/dev/shm`` of 0.33 MB
        per tile; `close` removes them.

    Raises
    ------
    ValueError
        If there is no such transport.
    """

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
        transport: str = "grpc",
    ) -> None:
        if transport not in TRANSPORTS:
            raise ValueError(f"transport must be {' or '.join(TRANSPORTS)}, not {transport!r}.")
        self.url = url
        self._timeout = timeout
        self._retry_for = retry_for
        self._max_in_flight = max_in_flight
        self._batch_size = batch_size
        self._headers = headers
        self._triton = triton.InferenceServerClient(
            url,
            ssl=ssl,
            root_certificates=root_certificates,
            private_key=private_key,
            certificate_chain=certificate_chain,
            channel_args=wire.CHANNEL_ARGUMENTS,
        )
        self._regions = Regions(self._triton, headers) if transport == "shm" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and remove what is shared with the server."""
        if self._regions:
            self._regions.close()
        self._triton.close()

    def check(self) -> None:
        """Check that a server answers and serves the model this client knows.

        Raises
        ------
        ServerUnavailableError, ServerError
        """
        try:
            ready = self._triton.is_model_ready(MODEL, headers=self._headers, client_timeout=5)
            wire.check_ready(ready, self.url)
            metadata = self._triton.get_model_metadata(
                MODEL, headers=self._headers, client_timeout=5
            )
        except triton.InferenceServerException as error:
            raise explain(error, self.url) from error
        wire.check_metadata(metadata, self.url)

    def segment(
        self,
        image: np.ndarray,
        *,
        mpp: float = MPP,
        settings: Settings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Nuclei:
        """Find and classify every nucleus of an image of any size.

        Parameters
        ----------
        image
            uint8 [H, W, 3], RGB.
        mpp
            Micrometres per pixel; other scales than 0.25 are resampled for the network, the result
            is in the image's own pixels.
        settings
            Thresholds other than the server's.
        progress
            Called with the tiles done and the tiles in all.

        Raises
        ------
        ImageError
            If the image cannot be used.
        ServerUnavailableError, ServerError
            If the server cannot be reached, stops answering or refuses; requests under way are
            given up.
        """
        cut = tiling(image, mpp)
        requests = batches(cut, self._batch_size)
        results: list[tuple[Tile, TileResult]] = []
        waiting: dict[Future, list[Tile]] = {}
        pool = ThreadPoolExecutor(self._max_in_flight, thread_name_prefix="tsfd")
        try:
            while requests or waiting:
                while requests and len(waiting) < self._max_in_flight:
                    batch = requests.pop(0)
                    pixels = np.stack([tile.image for tile in batch])
                    waiting[pool.submit(self.segment_tiles, pixels, settings=settings)] = batch
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    results.extend(zip(waiting.pop(future), future.result(), strict=True))
                    if progress:
                        progress(len(results), len(cut))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return assemble(cut, results, image.shape[:2], mpp)

    def segment_tiles(
        self, tiles: np.ndarray, *, settings: Settings | None = None
    ) -> list[TileResult]:
        """Segment tiles as they are, in one request and without stitching.

        Parameters
        ----------
        tiles
            uint8 [N, 256, 256, 3], 1 <= N <= 32, at 0.25 mpp.

        Raises
        ------
        ImageError, ServerUnavailableError, ServerError
        """
        parameters = settings.parameters() if settings else {}
        started = time.monotonic()
        attempt = 0
        while True:
            try:
                return self._segment_tiles(tiles, parameters)
            except triton.InferenceServerException as error:
                pause = wait_before_retry(
                    error,
                    url=self.url,
                    attempt=attempt,
                    waited=time.monotonic() - started,
                    patience=self._retry_for,
                )
            time.sleep(pause)
            attempt += 1

    def _segment_tiles(self, tiles: np.ndarray, parameters: dict[str, str]) -> list[TileResult]:
        if self._regions is None:
            return wire.decode(self._infer(wire.inputs(tiles), wire.outputs(), parameters))
        with self._regions.region() as region:
            answer = self._infer(region.inputs(tiles), region.outputs(len(tiles)), parameters)
            return region.decode(answer, len(tiles))

    def _infer(
        self,
        inputs: list[triton.InferInput],
        outputs: list[triton.InferRequestedOutput],
        parameters: dict[str, str],
    ) -> triton.InferResult:
        return self._triton.infer(
            MODEL,
            inputs,
            outputs=outputs,
            parameters=parameters,
            headers=self._headers,
            client_timeout=self._timeout,
        )
