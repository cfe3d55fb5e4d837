"""The outcome of each request, in one CSV file per process of the generator.

A JSON file beside each holds the agreement of its answers' nuclei with the right ones.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from conversion.agreement import Agreement

ANSWERED, WRONG, DROPPED = "OK", "WRONG", "DROPPED"
"""States besides gRPC's: answered correctly, answered wrongly, not sent because too many requests
were in flight."""

_COLUMNS = ("kind", "patches", "intended", "sent", "done", "status")


class Writer:
    """Appends to this process' file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w", newline="")
        self._csv = csv.writer(self._file)
        self._csv.writerow(_COLUMNS)

    def write(
        self, kind: str, patches: int, intended: float, sent: float, done: float, status: str
    ) -> None:
        """Add a request; times are seconds since 1970."""
        self._csv.writerow((kind, patches, intended, sent, done, status))

    def close(self, agreement: Agreement) -> None:
        """Finish the file, and write the agreement of all answers beside it."""
        self._file.close()
        self._path.with_suffix(".json").write_text(agreement.to_json())


def read_agreement(folder: Path) -> Agreement:
    """Sum up the agreement from all processes that have written to `folder`."""
    paths = folder.glob("requests-*.json")
    return sum((Agreement.from_json(path.read_text()) for path in paths), Agreement())


@dataclass(frozen=True)
class Records:
    """Requests in the order in which they were meant to be sent.

    Attributes
    ----------
    patches
        int64 [n]: number of patches in each request.
    intended, sent, done
        float64 [n]; seconds since 1970.
    status
        str [n]: "OK", "WRONG", "DROPPED" or gRPC's name of the failure.
    """

    patches: np.ndarray
    intended: np.ndarray
    sent: np.ndarray
    done: np.ndarray
    status: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the requests of all processes that have written to `folder`."""
        rows = []
        for path in sorted(folder.glob("requests-*.csv")):
            with path.open(newline="") as file:
                rows += list(csv.reader(file))[1:]
        rows.sort(key=lambda row: float(row[2]))
        columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
        times = (np.array(column, float) for column in columns[2:5])
        return cls(np.array(columns[1], int), *times, np.array(columns[5], str))

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, chosen: np.ndarray) -> Self:
        fields = (self.patches, self.intended, self.sent, self.done, self.status)
        return type(self)(*(values[chosen] for values in fields))

    def between(self, begin: float, end: float) -> Self:
        """Select the requests meant to be sent between two times, in seconds since 1970."""
        return self[(self.intended >= begin) & (self.intended < end)]

    @property
    def is_answered(self) -> np.ndarray:
        """bool [n], whether each was answered correctly."""
        return self.status == ANSWERED

    @property
    def latency(self) -> np.ndarray:
        """float64 [n]: seconds from when each was meant to be sent until its answer."""
        return self.done - self.intended

    @property
    def lag(self) -> np.ndarray:
        """float64 [n]: seconds by which the generator itself was late."""
        return self.sent - self.intended

    def percentile(self, percent: float) -> float:
        """Percentile of the answered requests' latency in seconds; NaN if there are none."""
        answered = self.latency[self.is_answered]
        return float(np.percentile(answered, percent)) if len(answered) else float("nan")
