"""Segment images on an existing Dask cluster, one task per image.

Images and results must have the same paths on every worker, and the server the same address.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tsfd_client.errors import TsfdError
from tsfd_client.slides.lock import LockedError
from tsfd_client.slides.many import Job, Outcome
from tsfd_client.slides.memory import collect_seldom, give_back

_PATIENCE: Final = 90.0  # seconds; the lock of a worker that died is free after 60
_PAUSE: Final = 5.0


def run_on_cluster(address: str, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs on a cluster; yield each with its outcome as it finishes.

    Parameters
    ----------
    address
        ``tcp://host:port`` of the scheduler, or the path of a scheduler file.

    Raises
    ------
    TsfdError
        If Dask is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise TsfdError("A cluster needs Dask: pip install 'tsfd-client[dask]'.") from error
    where = {"address": address} if "://" in address else {"scheduler_file": address}
    try:
        cluster = Client(**where, timeout=10)
    except (OSError, ValueError) as error:
        raise TsfdError(f"No Dask scheduler answers at {address}: {error}") from error
    with cluster:
        futures = {cluster.submit(_run, job, pure=False, retries=2): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], _result(future)


def _run(job: Job) -> Outcome:
    """Run a job on a worker; take over a dead worker's image once its lock is free."""
    give_back()
    collect_seldom()
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return job.run()
        except LockedError as error:
            if time.monotonic() > until:
                return error
        except TsfdError as error:
            return error
        time.sleep(_PAUSE)


def _result(future: Any) -> Outcome:
    try:
        result: Outcome = future.result()
    except Exception as error:  # Dask reports a dead worker in various ways
        return TsfdError(f"A worker failed: {error}")
    return result
