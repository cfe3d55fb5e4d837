"""Segment the images of an evaluation with a running server."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from training.data.annotated import MPP
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.server.client import Client
from tsfd_client.settings import Settings

_IN_FLIGHT = 4  # images at a time: one small image cannot keep the server busy


def segment_all(
    client: Client,
    images: Iterable[np.ndarray],
    settings: Settings | None = None,
    mpp: float = MPP,
) -> Iterator[Nuclei]:
    """Find and classify every nucleus of each image, as in `in_process.segment_all`.

    Raises
    ------
    tsfd_client.errors.TsfdError
        If an image cannot be used, or the server cannot be reached or refuses.
    """
    pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="evaluate")
    waiting: deque[Future[Nuclei]] = deque()
    try:
        for image in images:
            waiting.append(pool.submit(client.segment, image, mpp=mpp, settings=settings))
            if len(waiting) == _IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
