"""The synchronous client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import numpy as np
import tritonclient.grpc as triton

from tsfd_client.contract import FEATURES, MODEL
from tsfd_client.errors import ServerError
from tsfd_client.nuclei.assembly import Assembly, Results, TileResult, batches
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.release import Release
from tsfd_client.server import protocol
from tsfd_client.server.connection import TRACER, Connection, check_arguments
from tsfd_client.server.protocol import Carrier
from tsfd_client.server.regions import Regions, are_offered
from tsfd_client.server.retry import Tries, explain
from tsfd_client.settings import Settings
from tsfd_client.stitching.tiling import Tile, tiling


@dataclass(kw_only=True, eq=False, repr=False)
class Client(Connection):
    """Segments images on a Triton server over gRPC; see `Connection` for the parameters.

    Safe to use from several threads.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._triton = triton.InferenceServerClient(**self._channel())
        self._regions = Regions(self._triton, self.url, self.headers, self.timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and remove the memory shared with the server."""
        if not self._is_ours:  # still in use by the process that opened it
            return
        self._regions.close()
        self._triton.close()

    def check(self) -> protocol.Served:
        """Check that the server is ready, keeps the contract and segments a blank patch.

        Raises
        ------
        ServerUnavailableError
            If no server answers, or its models are not ready or no longer answer.
        ServerError
            If it keeps another version of the contract, or refuses the patch.
        """
        try:
            ready = self._triton.is_model_ready(MODEL, **self._question())
            protocol.check_ready(ready, self.url)
            model = self._triton.get_model_metadata(MODEL, **self._question())
            protocol.check_contract(model, self.url)
            server = self._triton.get_server_metadata(**self._question())
            release = self._ask_release()
            (answer,) = self._segment_tiles(protocol.CANARY, None, "check")
        except triton.InferenceServerException as error:
            raise explain(error, self.url) from error
        protocol.check_answer(answer, release, self.url)
        return protocol.Served(release, server.version)

    def release(self) -> Release:
        """Return the release that the server serves: scale, classes, thresholds. Asked only once.

        Raises
        ------
        ServerUnavailableError, ServerError
            If the server cannot be reached, or does not describe its release.
        """
        return self._release or Tries(self.url, self.retry_for).run(self._ask_release)

    def _ask_release(self) -> Release:
        served = self._triton.get_model_config(**self._describing())
        release = self._release = protocol.read_release(served, self.url)
        return release

    def _carrier(self) -> AbstractContextManager[Carrier]:
        return self._regions.region() if self.transport == "shm" else nullcontext(Carrier())

    def shares_memory(self) -> bool:
        """Whether the server is on this machine and can open its shared memory."""
        self._check_process()
        return are_offered(Regions(self._triton, self.url, self.headers, self.timeout))

    @TRACER.start_as_current_span("segment")
    def segment(
        self,
        image: np.ndarray,
        *,
        mpp: float | Literal["network"] = "network",
        tissue: np.ndarray | None = None,
        settings: Settings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Nuclei:
        """Find and classify every nucleus of an image of any size.

        Parameters
        ----------
        image
            uint8 [H, W, 3], RGB.
        mpp
            Micrometres per pixel; by default the network's scale. Images at other scales are
            resampled for the network; the result is in the image's own pixels.
        tissue
            bool [h, w], the whole image at any scale: keep only nuclei whose centroids lie on it.
            By default everywhere.
        settings
            Thresholds that override the server's.
        progress
            Called with the number of tiles done and the total, which grows if nuclei are cut by
            tiles.

        Raises
        ------
        ImageError
            If the image cannot be used.
        ServerUnavailableError, ServerError
            If the server cannot be reached, stops answering or refuses; pending requests are
            abandoned.
        """
        check_arguments(image, settings)
        release = self.release()
        mpp = release.mpp if mpp == "network" else mpp
        cut = tiling(image, mpp, release.mpp, tissue)
        results = self._ask(list(cut), settings, progress)
        assembly = Assembly(cut, results)
        more = self._ask(assembly.between, settings, progress, len(results))
        if any(result.release != release.name for _, result in results + more):
            self._release = None  # the server has switched to another release
        return assembly.nuclei(more, self.release().with_settings(settings))

    def _ask(
        self,
        tiles: Sequence[Tile],
        settings: Settings | None,
        progress: Callable[[int, int], None] | None,
        before: int = 0,
    ) -> Results:
        """Request the answers for some tiles; progress starts at `before` tiles."""
        requests = batches(tiles, self.batch_size)
        results: Results = []
        waiting: dict[Future[list[TileResult]], list[Tile]] = {}
        pool = ThreadPoolExecutor(self.max_in_flight, thread_name_prefix="tsfd")
        try:
            while requests or waiting:
                while requests and len(waiting) < self.max_in_flight:
                    batch = requests.pop(0)
                    pixels = np.stack([tile.image for tile in batch])
                    ask = pool.submit(
                        copy_context().run, self.segment_tiles, pixels, settings=settings
                    )
                    waiting[ask] = batch
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    results.extend(zip(waiting.pop(future), future.result(), strict=True))
                    if progress:
                        progress(before + len(results), before + len(tiles))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return results

    def segment_tiles(
        self, tiles: np.ndarray, *, settings: Settings | None = None
    ) -> list[TileResult]:
        """Segment tiles in one request, without resampling or stitching.

        Parameters
        ----------
        tiles
            uint8 [N, 256, 256, 3], 1 <= N <= 32, at the network's scale.

        Raises
        ------
        ImageError, ServerUnavailableError, ServerError
        """
        check_arguments(tiles, settings)
        tries = Tries(self.url, self.retry_for)
        with self._span(tiles, tries):
            return tries.run(partial(self._segment_tiles, tiles, settings, tries.request_id))

    def features(self, tiles: np.ndarray, instance_maps: np.ndarray) -> list[np.ndarray]:
        """Ask for the network's features of given nuclei, in one request.

        Parameters
        ----------
        tiles
            uint8 [N, 256, 256, 3], 1 <= N <= 32, at the network's scale.
        instance_maps
            uint16 [N, 256, 256]; 0 is background.

        Returns
        -------
        list
            Per tile, float16 [n, D], where n is its highest id; row i - 1 describes id i.

        Raises
        ------
        ServerUnavailableError, ServerError
        """
        check_arguments(tiles, None)
        tries = Tries(self.url, self.retry_for)
        with self._span(tiles, tries):
            asked = self._request(protocol.features_request(tiles, instance_maps), tries.request_id)
            found = tries.run(lambda: self._triton.infer(**asked)).as_numpy("nuclei_features")
        return [rows[: ids.max()] for rows, ids in zip(found, instance_maps, strict=True)]

    def check_features(self) -> None:
        """Raise ServerError unless the server gives features of nuclei."""
        if not self._triton.is_model_ready(FEATURES, **self._question()):
            raise ServerError(
                f"The server at {self.url} gives no features of nuclei: its models were made by an "
                "older version; run `make convert` there."
            )

    def check_unchanged(self) -> None:
        """Raise ServerError if the server has changed its weights since `release` was asked."""
        first = self.release()
        now = Tries(self.url, self.retry_for).run(self._ask_release)
        if now.digests.get("weights_sha256") != first.digests.get("weights_sha256"):
            raise ServerError(
                f"The server at {self.url} switched from {first.name} to {now.name}, which has "
                "other weights: serve those of the former, then run the same command again."
            )

    def _segment_tiles(
        self, tiles: np.ndarray, settings: Settings | None, request_id: str
    ) -> list[TileResult]:
        with self._carrier() as carrier:
            request = self._inference(carrier, tiles, settings, request_id)
            return carrier.decode(self._triton.infer(**request), len(tiles))
