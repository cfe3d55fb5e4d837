"""A result folder of ``tsfd segment``, for programs and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tsfd_client.errors import OutputError
from tsfd_client.files import MEASURES, PARQUET
from tsfd_client.nuclei import summary
from tsfd_client.nuclei.table import SCHEMA, Info, read_batches, read_info, reading
from tsfd_client.release import Release
from tsfd_client.settings import Settings

if TYPE_CHECKING:
    import anndata
    import geopandas
    import spatialdata


class Result:
    """The nuclei of an image, read from its folder. Coordinates are pixels of level 0.

    Attributes
    ----------
    folder
        Folder of the result.
    info
        Metadata from ``nuclei.parquet``: name, size and scale of the image.
    summary
        Content of ``summary.json``: nuclei and densities by class, warnings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info: Info = read_info(folder / PARQUET)
        self.summary: dict[str, Any] = summary.read(folder)

    def __len__(self) -> int:
        return sum(self.counts().values())

    def __bool__(self) -> bool:
        return True  # even without nuclei

    def __repr__(self) -> str:
        named = ", ".join(f"{n} {name}" for name, n in self.counts().items() if n)
        return f"<Result {self.folder.name}: {named or 'no nuclei'}>"

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of level 0."""
        return self.info.mpp

    @property
    def release(self) -> Release:
        """The network, post-processing and thresholds that found the nuclei."""
        return self.info.release

    @property
    def settings(self) -> Settings:
        """The thresholds that were in force."""
        return self.release.settings

    def counts(self) -> dict[str, int]:
        """Number of nuclei by class name, zeros included."""
        return {name: kind["nuclei"] for name, kind in self.summary["classes"].items()}

    def table(self) -> pa.Table:
        """Return one row per nucleus: id, class, class_prob, area_um2, centroid, bbox, outline.

        The outline is WKB. The whole table is in memory, about 500 bytes per nucleus. Use
        ``.to_pandas()`` to convert it.
        """
        return pa.concat_tables([SCHEMA.empty_table(), *read_batches(self.folder / PARQUET)])

    def measures(self) -> pa.Table:
        """Return what was measured of every nucleus, by id, in the order of the table.

        Lengths are micrometres, angles radians, stains optical densities.

        Raises
        ------
        OutputError
            If nothing was measured.
        """
        path = self.folder / MEASURES
        if not path.is_file():
            raise OutputError(f"{self.folder} is not measured: run `tsfd measure {self.folder}`.")
        return pa.concat_tables(read_batches(path))

    def geodataframe(self) -> geopandas.GeoDataFrame:
        """Return the table with outlines as shapely polygons, without a coordinate system.

        Raises
        ------
        OutputError
            If geopandas is not installed.
        """
        with _needing():
            import geopandas

        with reading(self.folder):
            return geopandas.read_parquet(self.folder / PARQUET)

    def anndata(self) -> anndata.AnnData:
        """Return the measurements, with centroids in ``obsm["spatial"]``; rows are named by id.

        Raises
        ------
        OutputError
            If AnnData is not installed.
        """
        with _needing():
            from tsfd_client.export.annotated import annotated

        table = annotated(self.folder / PARQUET)
        table.obs_names = [str(number) for number in table.obs["id"]]
        return table

    def spatialdata(self) -> spatialdata.SpatialData:
        """Return outlines in ``shapes["nuclei"]`` and measurements in ``tables["table"]``.

        Without nuclei there is only the table, as SpatialData does not allow empty shapes.

        Raises
        ------
        OutputError
            If spatialdata is not installed.
        """
        with _needing():
            import spatialdata

            from tsfd_client.export import to_spatialdata
        with TemporaryDirectory() as folder:
            path = Path(folder) / "nuclei.zarr"
            to_spatialdata.write(self.folder / PARQUET, path)
            data = spatialdata.read_zarr(path)
        data.path = None  # everything is in memory
        return data


@contextmanager
def _needing() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise OutputError(
            f"This needs {error.name or error}: pip install 'tsfd-client[analysis]'."
        ) from error


def open_result(folder: str | Path) -> Result:
    """Open the result of an image, by its folder.

    Raises
    ------
    OutputError
        If the folder contains no result, or a damaged one.
    """
    folder = Path(folder)
    if not (folder / PARQUET).is_file():
        raise OutputError(f"{folder} is not the folder of a finished result: it has no {PARQUET}.")
    return Result(folder)
