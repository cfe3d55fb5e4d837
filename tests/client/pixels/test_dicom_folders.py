"""DICOM slides in folders, as exports, media and archives lay them out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.client.dicom_files import write_dicom, write_dicomdir
from tests.client.slide_files import smaller
from tsfd_client import ImageError
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.folder import expand, images_in
from tsfd_client.pixels.opening import is_slide, open_image
from tsfd_client.slides.many import folders_of

LABEL = "ORIGINAL/PRIMARY/LABEL/NONE"
OVERVIEW = "ORIGINAL/PRIMARY/OVERVIEW/NONE"
SMALLER = "DERIVED/PRIMARY/VOLUME/RESAMPLED"
WITHOUT_OPENSLIDE = """
import sys
from pathlib import Path
sys.modules["openslide"] = None
from tsfd_client import ImageError
from tsfd_client.pixels.folder import images_in
try:
    print([str(path) for path in images_in(Path(sys.argv[1]))])
except ImageError as error:
    print(error)
"""


def level(path: Path, image: np.ndarray, series: str, times: int = 1) -> Path:
    mpp = (0.25 * times,) * 2
    kind = SMALLER if times > 1 else "ORIGINAL/PRIMARY/VOLUME/NONE"
    return write_dicom(path, smaller(image, times), series=series, mpp=mpp, kind=kind)


def shows(path: Path, image: np.ndarray, levels: int) -> bool:
    """Whether what is opened is the whole picture, in so many levels."""
    with open_image(path) as slide:
        box = Box(0, 0, *image.shape[:2])
        pixels = slide.at(0.25).read(box)
        return np.array_equal(pixels, image) and len(slide._levels.shapes) == levels


@pytest.mark.parametrize("name", ["a.dcm", "A.DCM", "a.dicom", "IMG00001", "1.2.840.10008.5"])
def test_names_of_files(name: str, picture: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "slide"
    level(folder / name, picture, "1.2.3")

    assert images_in(tmp_path) == [folder]
    assert is_slide(folder)
    assert shows(folder, picture, 1)
    assert shows(folder / name, picture, 1)


def test_a_medium_with_its_index(picture: np.ndarray, tmp_path: Path) -> None:
    """DICOMDIR, and files named as media have them; the index stands for its folder."""
    level(tmp_path / "IMAGES/IM1", picture, "1.2.3")
    level(tmp_path / "IMAGES/IM2", picture, "1.2.3", 2)
    index = write_dicomdir(tmp_path)

    assert images_in(tmp_path) == expand([index]) == [tmp_path / "IMAGES"]
    assert is_slide(tmp_path)
    for path in (tmp_path, index, tmp_path / "IMAGES"):
        assert shows(path, picture, 2)


def test_a_folder_per_level(picture: np.ndarray, tmp_path: Path) -> None:
    """One slide, whose levels lie in the order that has the smallest first."""
    folder = tmp_path / "slide"
    level(folder / "1/a.dcm", picture, "1.2.3", 8)
    level(folder / "2/a.dcm", picture, "1.2.3", 2)
    level(folder / "3/a.dcm", picture, "1.2.3", 1)

    assert images_in(tmp_path) == [folder]
    assert shows(folder, picture, 3)
    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("tsfd-dicom-*"))
    with open_image(folder) as slide:
        assert slide.mpp == 0.25
    assert set(Path(os.environ.get("TMPDIR", "/tmp")).glob("tsfd-dicom-*")) <= before


def test_label_and_overview_beside_the_slide(picture: np.ndarray, tmp_path: Path) -> None:
    """As series of their own, which hold no slide."""
    folder = tmp_path / "case"
    level(folder / "b.dcm", picture, "1.2.3")
    write_dicom(folder / "a.dcm", picture[:60, :60], series="1.2.4", kind=LABEL)
    write_dicom(folder / "overview/c.dcm", picture[:60, :90], series="1.2.5", kind=OVERVIEW)

    assert images_in(tmp_path) == [folder]
    assert shows(folder, picture, 1)
    (folder / "b.dcm").unlink()
    assert not is_slide(folder)
    with pytest.raises(ImageError, match="holds no image"):
        images_in(folder)


def test_several_slides_in_a_folder(picture: np.ndarray, tmp_path: Path) -> None:
    """Each by the file of its full resolution; results are told apart by whole UIDs."""
    for series in ("1.2.3.1", "1.2.3.2"):
        level(tmp_path / f"{series}.1", picture, series, 2)
        level(tmp_path / f"{series}.2", picture, series)
    level(tmp_path / "alone/a", picture, "1.2.3.3")

    found = images_in(tmp_path)

    assert found == [tmp_path / name for name in ("1.2.3.1.2", "1.2.3.2.2", "alone")]
    assert all(shows(path, picture, levels) for path, levels in zip(found, (2, 2, 1), strict=True))
    with pytest.raises(ImageError, match="holds several DICOM slides: give a file of one of them"):
        open_image(tmp_path)
    names = [folder.name for folder in folders_of(found, tmp_path / "out").values()]
    assert names == ["1.2.3.1.2", "1.2.3.2.2", "alone"]


def test_pictures_beside_dicom_count_too(picture: np.ndarray, tmp_path: Path) -> None:
    level(tmp_path / "slide/a.dcm", picture, "1.2.3")
    Image.fromarray(picture).save(tmp_path / "b.png")
    Image.fromarray(picture).save(tmp_path / "slide/preview.jpg")

    assert images_in(tmp_path) == [
        tmp_path / name for name in ("b.png", "slide", "slide/preview.jpg")
    ]


def test_a_damaged_slide_is_not_passed_over(picture: np.ndarray, tmp_path: Path) -> None:
    level(tmp_path / "good/a.dcm", picture, "1.2.3")
    damaged = level(tmp_path / "bad/b.dcm", picture, "1.2.4")
    damaged.write_bytes(
        damaged.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
    )

    assert images_in(tmp_path) == [tmp_path / "bad", tmp_path / "good"]
    with pytest.raises(ImageError, match="bad cannot be read as a slide: "):
        open_image(tmp_path / "bad")


def test_where_it_is_looked_for_from_inside(
    picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level(tmp_path / "slide/a.dcm", picture, "1.2.3")
    monkeypatch.chdir(tmp_path)

    assert images_in(Path()) == [Path("slide")]
    monkeypatch.chdir(tmp_path / "slide")
    (found,) = images_in(Path())
    assert [f.name for f in folders_of([found], tmp_path / "out").values()] == ["slide"]


def test_files_of_other_kinds_are_not_opened(picture: np.ndarray, tmp_path: Path) -> None:
    """OpenSlide is not even needed for a folder of many files without a suffix."""
    for number in range(3000):
        (tmp_path / f"file{number}").write_bytes(b"of another kind" * 20)
    os.mkfifo(tmp_path / "pipe")
    Image.fromarray(picture).save(tmp_path / "a.png")
    command = [sys.executable, "-c", WITHOUT_OPENSLIDE, tmp_path]

    def found() -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert found() == str([str(tmp_path / "a.png")])
    level(tmp_path / "IMG", picture, "1.2.3")
    assert found().startswith("Slides are read by OpenSlide, which is missing: ")
