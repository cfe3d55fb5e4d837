"""Memory, threads and file descriptors of a load test's processes over time."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from loadtest.background import Background

_WARM_UP: Final = 0.1  # share of the time during which caches may still fill
_BLOCKS: Final = 30  # means of blocks are less correlated than neighbouring samples
_T: Final = 2.05  # Student's t for 95 % and 28 degrees of freedom


@dataclass(frozen=True)
class Trend:
    """The trend of a quantity.

    Attributes
    ----------
    name, unit
        Name and unit of the quantity.
    mean
        Mean over the time.
    slope, low, high
        Change per hour and its 95 % interval.
    """

    name: str
    unit: str
    mean: float
    slope: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Whether it grows significantly, and by more than 2 % per hour."""
        return self.low > 0.02 * self.mean


class Resources(Background):
    """Samples the processes of a server and the generator in a thread, as a context manager.

    Parameters
    ----------
    server
        Process id of ``tritonserver``.
    every
        Seconds between samples.

    Attributes
    ----------
    times
        Times of the samples in seconds since 1970.
    samples
        Values by name, such as ``"tsfd_net: memory"``.
    """

    def __init__(self, server: int, every: float = 5.0) -> None:
        super().__init__()
        self.times: list[float] = []
        self.samples: dict[str, list[float]] = {}
        self._server = psutil.Process(server)
        self._every = every

    def run(self) -> None:
        """Sample until the context ends."""
        while not self.ended.wait(self._every):
            with contextlib.suppress(psutil.Error):
                found = self._sample()
                self.times.append(time.time())
                for name, value in found.items():
                    self.samples.setdefault(name, []).append(value)

    def _sample(self) -> dict[str, float]:
        found = {}
        for name, process in self._processes().items():
            with process.oneshot():
                found[f"{name}: memory"] = process.memory_info().rss / 1e6
                found[f"{name}: threads"] = process.num_threads()
                found[f"{name}: descriptors"] = process.num_fds()
        regions = Path("/dev/shm").glob(f"tsfd_{self._server.ppid()}_*")
        found["shared memory"] = sum(512 * region.stat().st_blocks for region in regions) / 1e6
        return found

    def _processes(self) -> dict[str, psutil.Process]:
        found = {"Triton": self._server}
        for process in self._server.children():
            model = next((Path(a).parts[-3] for a in process.cmdline() if "model.py" in a), None)
            if model:
                found[model] = process
        for process in psutil.Process().children():
            if any("locustfile.py" in word for word in process.cmdline()):
                found["clients"] = process
        return found

    def trends(self) -> list[Trend]:
        """Trends of all quantities, without the time during which caches fill."""
        hours = (np.array(self.times) - self.times[0]) / 3600
        found = []
        for name, values in self.samples.items():
            # A process that started late or ended early lacks samples at that end.
            own = np.array(values[int(_WARM_UP * len(values)) :])
            at = hours[len(hours) - len(own) :]
            x = np.array([block.mean() for block in np.array_split(at, _BLOCKS)])
            y = np.array([block.mean() for block in np.array_split(own, _BLOCKS)])
            slope, cut = np.polyfit(x, y, 1)
            spread = np.sum((y - slope * x - cut) ** 2) / (_BLOCKS - 2)
            error = _T * float(np.sqrt(spread / np.sum((x - x.mean()) ** 2)))
            unit = "MB" if name.endswith("memory") else ""
            found.append(Trend(name, unit, own.mean(), slope, slope - error, slope + error))
        return found
