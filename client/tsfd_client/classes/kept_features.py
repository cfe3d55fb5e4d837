"""Features of a result's nuclei, kept beside them in the folder ``features``.

00000.parquet ...   a file per row of tiles: id int64, features float16 [D]
info.json           D, the number of nuclei, SHA-256 of the network's weights; written last
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tsfd_client.errors import OutputError
from tsfd_client.files import replacing

FOLDER: Final = "features"
_INFO: Final = "info.json"


class KeptFeatures:
    """A folder with features.

    Attributes
    ----------
    folder
        May not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_complete(self) -> bool:
        """Whether all nuclei have their features."""
        return (self.folder / _INFO).is_file()

    @property
    def width(self) -> int:
        """D, the number of features of each nucleus, once complete; 0 without nuclei."""
        return int(self._info()["width"])

    @property
    def weights_sha256(self) -> str:
        """Of the network that gave them, once complete."""
        return str(self._info()["weights_sha256"])

    def add(self, ids: np.ndarray, features: np.ndarray) -> None:
        """Keep the features of some nuclei, int64 [n] and float16 [n, D].

        Raises
        ------
        OSError
            If they cannot be written.
        """
        self.folder.mkdir(exist_ok=True)
        rows = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), features.shape[1])
        with replacing(self.folder / f"{len(self._parts()):05d}.parquet") as partial:
            pq.write_table(
                pa.table({"id": ids, "features": rows}),
                partial,
                compression="zstd",
                use_dictionary=False,
                use_byte_stream_split=["features.list.element"],
            )

    def finish(self, nuclei: int, weights_sha256: str) -> None:
        """Mark the features of so many nuclei as complete.

        Raises
        ------
        OSError
            If the folder cannot be written into.
        """
        self.folder.mkdir(exist_ok=True)
        width = next((features.shape[1] for _, features in self._read()), 0)
        info = {"width": width, "nuclei": nuclei, "weights_sha256": weights_sha256}
        with replacing(self.folder / _INFO) as partial:
            partial.write_text(json.dumps(info, indent=1) + "\n")

    def ids(self) -> np.ndarray:
        """The nuclei that have their features, int64 [n]; OutputError if a file is damaged."""
        tables = (self._table(path, ["id"]) for path in self._parts())
        return np.concatenate([np.empty(0, np.int64), *(t["id"].to_numpy() for t in tables)])

    def read(self, nuclei: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield ids, int64 [n], and features, float16 [n, D], a file at a time.

        Parameters
        ----------
        nuclei
            How many the result has.

        Raises
        ------
        OutputError
            If a file is damaged or missing, or the features are of other nuclei.
        """
        missing, width = np.ones(nuclei, bool), self.width
        for ids, features in self._read():
            is_known = (ids >= 1) & (ids <= nuclei)
            if not is_known.all() or features.shape[1] != width or not np.isfinite(features).all():
                raise self._damaged()
            missing[ids - 1] = False
            yield ids, features
        if missing.any():
            raise self._damaged()

    def _read(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for path in self._parts():
            table = self._table(path, ["id", "features"])
            rows = table["features"].combine_chunks()
            if not pa.types.is_fixed_size_list(rows.type) or rows.flatten().null_count:
                raise self._damaged()
            features = rows.flatten().to_numpy().reshape(-1, rows.type.list_size)
            yield table["id"].to_numpy(), features

    def _table(self, path: Path, columns: list[str]) -> pa.Table:
        try:
            return pq.read_table(path, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged() from error

    def _info(self) -> dict[str, Any]:
        try:
            info = dict(json.loads((self.folder / _INFO).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise self._damaged() from error
        if not (isinstance(info.get("width"), int) and "weights_sha256" in info):
            raise self._damaged()
        return info

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.parquet"))

    def _damaged(self) -> OutputError:
        return OutputError(f"{self.folder} is damaged: remove it, to ask for its features again.")
