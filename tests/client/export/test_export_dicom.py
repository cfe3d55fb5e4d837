"""DICOM annotations are what highdicom reads, a group per class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas
import highdicom
import numpy as np
import pytest
import shapely
from highdicom.color import CIELabColor
from releases import FIVE

from tests.client import made
from tests.client.export.run_folder import BLOCKS, NUCLEI, SIDE, finished
from training.target import CLASSES
from tsfd_client.cli import main
from tsfd_client.export import export
from tsfd_client.nuclei.table import Writer, from_nuclei


def test_a_group_per_class_holds_outlines_and_measurements(folder: Path) -> None:
    annotations = highdicom.ann.annread(export(folder, "dicom-ann"))

    frame = geopandas.read_parquet(folder / "nuclei.parquet")
    groups = annotations.get_annotation_groups()
    names = [name for name in CLASSES if (frame["class"] == name).any()]
    assert [group.label for group in groups] == names
    for group in groups:
        nuclei = frame[frame["class"] == group.label]
        polygons = [shapely.Polygon(p) for p in group.get_graphic_data(coordinate_type="2D")]
        assert nuclei.geometry.geom_equals(geopandas.GeoSeries(polygons, nuclei.index)).all()
        assert group.graphic_type.value == "POLYGON"
        assert group.annotated_property_type.value == group.label
        colour = CIELabColor.from_rgb(*FIVE.colours[group.label])
        assert tuple(group.RecommendedDisplayCIELabValue) == colour.value
        concepts, values, units = group.get_measurements()
        assert [concept.meaning for concept in concepts] == ["Area", "Class probability"]
        assert [unit.value for unit in units] == ["um2", "1"]
        assert np.array_equal(values, nuclei[["area_um2", "class_prob"]])


def test_every_export_refers_to_the_same_image(folder: Path) -> None:
    first, second = (
        highdicom.ann.annread(export(folder, "dicom-ann", folder / name)) for name in ("a", "b")
    )

    (image,) = first.ReferencedImageSequence
    assert image == second.ReferencedImageSequence[0]
    assert image.ReferencedSOPClassUID.name == "VL Whole Slide Microscopy Image Storage"
    assert first.AnnotationCoordinateType == "2D"
    assert first.PixelOriginInterpretation == "VOLUME"
    assert first.ContentLabel == "NUCLEI"


def identifiers(folder: Path) -> tuple[set[str], set[str]]:
    """What an export calls the slide, and what it calls itself: all that is unique in the world."""
    annotations = highdicom.ann.annread(export(folder, "dicom-ann"))
    (image,) = annotations.ReferencedImageSequence
    (series,) = annotations.ReferencedSeriesSequence
    slide = [
        annotations.StudyInstanceUID,
        series.SeriesInstanceUID,
        image.ReferencedSOPInstanceUID,
    ]
    own = [
        annotations.SeriesInstanceUID,
        annotations.SOPInstanceUID,
        *(group.uid for group in annotations.get_annotation_groups()),
    ]
    assert len({*slide, *own}) == len(slide) + len(own) > 5
    return set(slide), set(own)


def test_identifiers_are_those_of_the_content(tmp_path: Path) -> None:
    """Of patients whose slides are named alike, and are of one size, none gets another's."""
    results = {
        "patient 1": {},
        "patient 1 elsewhere": {},
        "patient 1 with other nuclei": {"blocks": BLOCKS[1:]},
        "patient 2": {"content": "another content"},
    }
    found = {}
    for name, differs in results.items():
        (tmp_path / name).mkdir()
        found[name] = identifiers(finished(tmp_path / name, 0.5, **differs))
    slide, own = found["patient 1"]
    assert found["patient 1 elsewhere"] == identifiers(tmp_path / "patient 1") == (slide, own)
    same_slide, others = found["patient 1 with other nuclei"]
    assert same_slide == slide
    assert others.isdisjoint(own)
    assert {*slide, *own, *others}.isdisjoint(set.union(*found["patient 2"]))


def test_a_run_that_does_not_say_its_slide_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "origin.json").unlink()
    assert main(["export", str(folder), "--to", "dicom-ann"]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {folder} does not say which slide it belongs to: run `tsfd segment` again, which "
        "writes origin.json.\n"
    )


def test_a_slide_in_dicom_is_referred_to_by_its_own_identifiers(folder: Path) -> None:
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    uids = {keyword: f"1.2.3.{number}" for number, keyword in enumerate(keywords)}
    with Writer(folder / "nuclei.parquet", made.info(0.5, SIDE, **uids)) as writer:
        writer.write(from_nuclei(NUCLEI, scale=0.5, mpp=0.5, release=FIVE))

    annotations = highdicom.ann.annread(export(folder, "dicom-ann"))

    (image,) = annotations.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == uids["SOPInstanceUID"]
    assert annotations.StudyInstanceUID == uids["StudyInstanceUID"]
    (series,) = annotations.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == uids["SeriesInstanceUID"] != annotations.SeriesInstanceUID


def test_dicom_without_nuclei_has_no_group(empty: Path) -> None:
    annotations = highdicom.ann.annread(export(empty, "dicom-ann"))

    assert len(annotations.AnnotationGroupSequence) == 0


def test_a_name_with_a_backslash(folder: Path) -> None:
    """As of a file whose name has a line break; in DICOM a backslash would part two values."""
    about = replace(made.info(0.5, SIDE), slide="new\\nline.svs")
    with Writer(folder / "nuclei.parquet", about) as writer:
        writer.write(from_nuclei(NUCLEI, scale=0.5, mpp=0.5, release=FIVE))

    annotations = highdicom.ann.annread(export(folder, "dicom-ann"))

    assert annotations.ContentDescription == "Nuclei of new/nline.svs"
