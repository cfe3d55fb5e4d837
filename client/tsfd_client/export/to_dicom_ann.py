"""Nuclei as DICOM Microscopy Bulk Simple Annotations, one group per class.

The annotations refer to the slide's own image if it was read from DICOM, otherwise to an image with
identifiers derived from the slide's content. Their own identifiers are derived from the content of
slide and result, so every export of a result has the same ones, and no other result has them. A run
stores nothing about the patient, so those fields are blank and must be filled in for an archive. A
slide without nuclei has no group, although the standard requires one.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import highdicom as hd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from highdicom.ann import AnnotationGroup, Measurements, MicroscopyBulkSimpleAnnotations
from highdicom.color import CIELabColor
from highdicom.sr import CodedConcept
from pydicom import Dataset, dcmwrite
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage, generate_uid

from tsfd_client.errors import OutputError
from tsfd_client.nuclei.table import Info, read_batches, read_info, rings_of
from tsfd_client.pixels.origin import FILE as ORIGIN
from tsfd_client.pixels.origin import Origin

_OWN = "99TSFD"  # coding schemes that begin with 99 are private
_STRUCTURE = CodedConcept("91723000", "SCT", "Anatomical structure")
_AI = CodedConcept("123109", "DCM", "Artificial Intelligence")
_AREA = CodedConcept("42798000", "SCT", "Area")
_PROB = CodedConcept("class_prob", _OWN, "Class probability")
_UM2 = CodedConcept("um2", "UCUM", "square micrometer")
_NO_UNIT = CodedConcept("1", "UCUM", "no units")
_GROUPS = 0x006A0002  # AnnotationGroupSequence
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD


@dataclass(frozen=True)
class _Uids:
    """Makes identifiers from hashes of content, as file names are not unique.

    Attributes
    ----------
    slide, result
        Hashes of the slide and of the result, including its release.
    """

    slide: str
    result: str

    def of_slide(self, name: str) -> str:
        return str(generate_uid(entropy_srcs=[self.slide, name]))

    def of_result(self, name: str) -> str:
        return str(generate_uid(entropy_srcs=[self.slide, self.result, name]))


class _Class:
    """Nuclei of one class: outlines in a temporary file, the rest in memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.count = 0
        self._values = 0
        self._starts = [np.empty(0, np.int32)]
        self._areas = [np.empty(0, np.float32)]
        self._probs = [np.empty(0, np.float32)]

    def add(self, table: pa.Table) -> None:
        offsets, points = rings_of(table)
        # In DICOM polygons are closed implicitly, and indices begin with 1.
        open_points = np.delete(points, offsets[1:] - 1, axis=0).astype("<f4")
        starts = 2 * (offsets[:-1] - np.arange(len(table)))
        self._starts.append((1 + self._values + starts).astype("<i4"))
        self._areas.append(table["area_um2"].to_numpy())
        self._probs.append(table["class_prob"].to_numpy())
        self.file.write(open_points.tobytes())
        self.count += len(table)
        self._values += open_points.size

    def group(self, number: int, name: str, info: Info, uids: _Uids) -> AnnotationGroup:
        """Make the annotation group; its coordinates are read from the file on writing."""
        group = AnnotationGroup(
            number=number,
            uid=uids.of_result(f"group {name}"),
            label=name,
            annotated_property_category=_STRUCTURE,
            annotated_property_type=CodedConcept(name, _OWN, f"Nucleus, {name}"[:64]),
            graphic_type="POLYGON",
            graphic_data=[np.zeros((3, 2), np.float32) + np.eye(3, 2, dtype=np.float32)],
            algorithm_type="AUTOMATIC",
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="TSFD-Net", family=_AI, version=info.release.name[:64]
            ),
            display_color=CIELabColor.from_rgb(*info.release.colours[name]),
        )
        # The constructor takes an array per nucleus; it got a dummy triangle, replaced here.
        self.file.seek(0)
        group.NumberOfAnnotations = self.count
        group.add_new("PointCoordinatesData", "OF", self.file)
        group.LongPrimitivePointIndexList = np.concatenate(self._starts).tobytes()
        group.MeasurementsSequence = [
            Measurements(_AREA, np.concatenate(self._areas), _UM2),
            Measurements(_PROB, np.concatenate(self._probs), _NO_UNIT),
        ]
        return group


def write(parquet: Path, path: Path) -> None:
    """Write outlines, float32 in pixels of level 0, with areas and class probabilities.

    Raises
    ------
    OutputError
        If the run is damaged, or does not say which slide it belongs to.
    """
    info, uids = read_info(parquet), _uids(parquet)
    with ExitStack() as stack:
        classes = {
            name: _Class(stack.enter_context(tempfile.TemporaryFile(dir=path.parent)))
            for name in info.release.class_names[1:]
        }
        for batch in read_batches(parquet, ["class", "area_um2", "class_prob", "geometry"]):
            for name, nuclei in classes.items():
                of_class = batch.filter(pc.equal(batch["class"], name))
                if len(of_class):
                    nuclei.add(of_class.combine_chunks())
        found = {name: nuclei for name, nuclei in classes.items() if nuclei.count}
        groups = [
            nuclei.group(number, name, info, uids)
            for number, (name, nuclei) in enumerate(found.items(), 1)
        ]
        with path.open("wb") as file:
            _write(file, _annotations(info, uids), groups)


def _uids(parquet: Path) -> _Uids:
    origin = Origin.read(parquet.parent)
    if origin is None:
        raise OutputError(
            f"{parquet.parent} does not say which slide it belongs to: run `tsfd segment` again, "
            f"which writes {ORIGIN}."
        )
    with parquet.open("rb") as file:
        return _Uids(origin.fingerprint, hashlib.file_digest(file, "sha256").hexdigest())


def _annotations(info: Info, uids: _Uids) -> MicroscopyBulkSimpleAnnotations:
    """The data set without its groups."""
    return MicroscopyBulkSimpleAnnotations(
        source_images=[_source(info, uids)],
        annotation_coordinate_type="2D",
        annotation_groups=[],
        series_instance_uid=uids.of_result("annotations"),
        series_number=1,
        sop_instance_uid=uids.of_result("nuclei"),
        instance_number=1,
        manufacturer="tsfd-client",
        manufacturer_model_name="tsfd export",
        software_versions=info.release.name[:64],
        device_serial_number="0",
        content_label="NUCLEI",
        content_description=f"Nuclei of {info.slide}".replace("\\", "/")[:64],  # parts values
    )


def _source(info: Info, uids: _Uids) -> Dataset:
    """The data set that identifies the slide."""
    image = Dataset()
    image.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(image, name, info.dicom_uids.get(name) or uids.of_slide(name))
    image.FrameOfReferenceUID = uids.of_slide("frame")  # not written: outlines are in pixels
    image.Modality = "SM"
    image.TotalPixelMatrixColumns, image.TotalPixelMatrixRows = info.width, info.height
    for name in (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
        *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
    ):
        setattr(image, name, None)
    return image


def _write(
    file: IO[bytes], annotations: MicroscopyBulkSimpleAnnotations, groups: list[AnnotationGroup]
) -> None:
    """Write the file group by group; pydicom would hold the whole sequence in memory."""
    after = Dataset()
    for element in [element for element in annotations if element.tag >= _GROUPS]:
        del annotations[element.tag]
        if element.tag > _GROUPS:
            after.add(element)
    dcmwrite(file, annotations, enforce_file_format=True)
    stream = DicomFileLike(file)
    stream.is_little_endian, stream.is_implicit_VR = True, False
    with _delimited(
        file, struct.pack("<HH2sH", *divmod(_GROUPS, 1 << 16), b"SQ", 0), _SEQUENCE_END
    ):
        for group in groups:
            with _delimited(file, struct.pack("<HH", 0xFFFE, _ITEM), _ITEM_END):
                write_dataset(stream, group)
    write_dataset(stream, after)


@contextmanager
def _delimited(file: IO[bytes], head: bytes, end: int) -> Iterator[None]:
    file.write(head + struct.pack("<I", _UNDEFINED_LENGTH))
    yield
    file.write(struct.pack("<HHI", 0xFFFE, end, 0))
