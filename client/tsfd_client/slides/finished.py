"""Finished results of slides on stores: while the store has the same file, it is not fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tsfd_client.errors import ImageError
from tsfd_client.files import CSV, PARQUET
from tsfd_client.nuclei.table import read_info
from tsfd_client.pixels.origin import Origin
from tsfd_client.remote.address import Address
from tsfd_client.remote.transfer import Store
from tsfd_client.remote.trouble import LOG
from tsfd_client.slides.run import Run


@dataclass
class Finished:
    """What a finished result says of its image; attributes as of `Slide`."""

    is_picture: bool
    height: int
    width: int
    mpp: float
    digest: str

    @classmethod
    def of(cls, folder: Path, address: Address, mpp: float | None) -> Self | None:
        """What a result says, if it is finished and its store has no other version of the file.

        Parameters
        ----------
        mpp
            Scale that was given.

        Raises
        ------
        OutputError
            If the result is damaged.
        """
        origin, is_picture = Origin.read(folder), (folder / CSV).is_file()
        if origin is None or origin.path != str(address) or origin.version is None:
            return None
        if not Run(folder, is_picture=is_picture).is_done:
            return None
        try:
            if Store(address).look(patient=False).version != origin.version:
                return None
        except ImageError as error:
            LOG.warning("%s Its result is finished, and stays as it is.", error)
        info = read_info(folder / PARQUET)
        return cls(is_picture, info.height, info.width, mpp or origin.mpp, origin.fingerprint)

    @property
    def area_mm2(self) -> float:
        """Area of the whole image."""
        return self.height * self.width * self.mpp**2 / 1e6

    def fingerprint(self) -> str:
        """Identifies the image: a hash, 64 hexadecimal digits."""
        return self.digest
