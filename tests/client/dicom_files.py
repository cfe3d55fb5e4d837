"""Small DICOM slides, as scanners write them: a file per level, and label or overview beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import FileDataset
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

TILE = 64


def write_dicom(
    path: Path,
    image: np.ndarray,
    *,
    series: str,
    mpp: tuple[float, float] | None = (0.25, 0.25),
    kind: str = "ORIGINAL/PRIMARY/VOLUME/NONE",
    spacing_of: str = "slide",
) -> Path:
    """Write a level, uint8 [H, W, 3], without compression; the folder is made.

    Parameters
    ----------
    series
        By which its levels are one slide.
    mpp
        Micrometres per pixel, across and down.
    spacing_of
        Whether the pixels' size is that of the ``slide``, or given for each of its ``frames``.
    """
    file = _new(path, VLWholeSlideMicroscopyImageStorage)
    file.SeriesInstanceUID = series
    file.StudyInstanceUID = "1.2.3"
    file.Modality = "SM"
    file.ImageType = kind.split("/")
    height, width = image.shape[:2]
    down, across = -(-height // TILE), -(-width // TILE)
    file.TotalPixelMatrixRows, file.TotalPixelMatrixColumns = height, width
    file.Rows = file.Columns = TILE
    file.NumberOfFrames = down * across
    file.DimensionOrganizationType = "TILED_FULL"
    file.SamplesPerPixel, file.PhotometricInterpretation = 3, "RGB"
    file.PlanarConfiguration = file.PixelRepresentation = 0
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit = 7
    groups = Dataset()
    if mpp:
        measures = Dataset()
        measures.PixelSpacing = [mpp[1] / 1e3, mpp[0] / 1e3]  # down first
        groups.PixelMeasuresSequence = [measures]
        file.ImagedVolumeWidth, file.ImagedVolumeHeight = (
            width * mpp[0] / 1e3,
            height * mpp[1] / 1e3,
        )
    if spacing_of == "slide":
        file.SharedFunctionalGroupsSequence = [groups]
    else:
        file.PerFrameFunctionalGroupsSequence = [groups] * (down * across)
    path_of_light = Dataset()
    path_of_light.OpticalPathIdentifier = "1"
    file.OpticalPathSequence = [path_of_light]
    padded = np.pad(image, ((0, down * TILE - height), (0, across * TILE - width), (0, 0)))
    tiles = padded.reshape(down, TILE, across, TILE, 3).swapaxes(1, 2)
    file.PixelData = tiles.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def write_dicomdir(folder: Path) -> Path:
    """Write the table of contents of a medium, which names nothing."""
    path = folder / "DICOMDIR"
    file = _new(path, MediaStorageDirectoryStorage)
    file.FileSetID = "SLIDES"
    file.DirectoryRecordSequence = []
    file.save_as(path, enforce_file_format=True)
    return path


def _new(path: Path, kind: str) -> FileDataset:
    about = FileMetaDataset()
    about.MediaStorageSOPClassUID = kind
    about.MediaStorageSOPInstanceUID = generate_uid()
    about.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=about, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = kind, about.MediaStorageSOPInstanceUID
    return file
