"""The command that looks through data before a training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from samples import histology
from samples.synthetic import generate
from training.check import main
from tsfd_client.contract import TISSUES


@pytest.fixture
def fold(pannuke: Path, tmp_path: Path) -> Path:
    """A copy of the second fold, to be changed."""
    return Path(shutil.copytree(pannuke / "Fold 2", tmp_path / "Fold 2"))


def _rows(text: str) -> dict[str, list[str]]:
    lines = [line.rsplit(maxsplit=3) for line in text.splitlines() if line]
    return {cells[0].strip(): cells[1:] for cells in lines}


def test_pannuke_is_counted(pannuke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pannuke)]) == 0

    printed = capsys.readouterr().out
    rows = _rows(printed)
    assert " fold 1     fold 2     fold 3\n" in printed
    assert rows["images"] == ["3", "3", "3"]
    assert rows["nuclei"] == ["40", "40", "40"]
    assert rows["dead"] == ["5", "5", "5"]
    assert rows["Bile-duct"] == ["1", "1", "1"]
    assert printed.endswith("no problems\n\n")


def test_a_manifest_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _manifest(tmp_path)

    assert main([str(tmp_path)]) == 0

    assert capsys.readouterr().out == (
        f"{tmp_path}\n"
        "                  test  train\n"
        "groups               1      2\n"
        "images               1      2\n"
        "  made               1      2\n"
        "nuclei               3      6\n"
        "  dead               0      4\n"
        "  unlabelled         3      2\n"
        "images by tissue     1      2\n"
        "  Liver              0      2\n"
        "  not given          1      0\n"
        "images by mpp        1      2\n"
        "  0.25               0      2\n"
        "  0.5                1      0\n\n"
        "no problems\n\n"
    )


def test_images_that_are_not_fully_marked_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = _manifest(tmp_path)
    entries[0]["partial"] = True
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    masks = dict(np.load(tmp_path / "2.npz"))
    np.savez(tmp_path / "2.npz", **masks, ignore=np.ones(masks["instances"].shape, bool))

    assert main([str(tmp_path)]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["partial", "images", "0", "1"] in lines
    assert ["images", "with", "ignored", "pixels", "1", "0"] in lines


def test_every_problem_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = _manifest(tmp_path)
    del entries[0]["group"]
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    (tmp_path / "1.png").unlink()
    shutil.copy(tmp_path / "2.npz", tmp_path / "1.npz")

    assert main([str(tmp_path), str(tmp_path / "nowhere")]) == 1

    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"{tmp_path}/manifest.json, entry 1: 'group' is missing.",
        f"{tmp_path}/1.png is missing.",
        f"There is no {tmp_path}/nowhere/manifest.json, and {tmp_path}/nowhere holds no fold of "
        "PanNuke: expected Fold 1/images/fold1/images.npy and so on.",
    ]
    assert "2 problems\n" in captured.out


def test_images_listed_under_two_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _manifest(tmp_path)
    shutil.copy(tmp_path / "0.png", tmp_path / "1.png")

    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/1.png has the same pixels as {tmp_path}/0.png."
    ]


def test_a_field_divided_between_training_and_scoring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = _manifest(tmp_path)
    entries[2]["mpp"] = 0.25
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    field = cv2.imread(str(histology.path()))[:160, :160]
    for number, tile in enumerate((field[:80, :80], field[:80, 80:], field[80:, 80:])):
        cv2.imwrite(str(tmp_path / f"{number}.png"), tile)

    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "1.png and 2.png are tiles of one field, but one is trained on and the other in the split "
        "'test': give all tiles of a field the same 'group' and 'split'."
    ]

    entries[2]["split"] = "train"
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    assert main([str(tmp_path)]) == 0


def _manifest(folder: Path) -> list[dict]:
    """Three images of three nuclei in two splits."""
    entries = []
    for number in range(3):
        field = generate(80, 80, nuclei=3, seed=number)
        cv2.imwrite(str(folder / f"{number}.png"), field.image[..., ::-1])
        labels = ["dead", "dead", "unlabelled"] if number < 2 else ["unlabelled"] * 3
        np.savez(folder / f"{number}.npz", instances=field.instance_map, label=labels)
        entries.append(
            {
                "image": f"{number}.png",
                "masks": f"{number}.npz",
                "set": "made",
                "split": "train" if number < 2 else "test",
                "tissue": "Liver" if number < 2 else None,
                "group": str(number),
                "mpp": 0.25 if number < 2 else 0.5,
            }
        )
    (folder / "manifest.json").write_text(json.dumps(entries))
    return entries


def _change(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """Change an array in place, or put another in its stead."""

    def spoil(fold: Path) -> None:
        (path,) = fold.rglob(name)
        array = np.load(path)
        np.save(path, array if (other := change(array)) is None else other)

    return spoil


def _put(index: object, value: object) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[index] = value

    return change


IMAGES, TYPES, MASKS = (
    "{f}/images/fold2/images.npy",
    "{f}/images/fold2/types.npy",
    "{f}/masks/fold2/masks.npy",
)
MAPPED = " cannot be mapped into memory: "
BROKEN_ARRAYS = [
    (lambda f: shutil.rmtree(f / "masks"), "masks.npy is missing in {f}/masks."),
    (
        lambda f: (f / "images/fold2/types.npy").unlink(),
        "types.npy is missing in {f}/images.",
    ),
    (
        _change("masks.npy", lambda a: a.astype(object)),
        MASKS + MAPPED + "Array can't be memory-mapped: Python objects in dtype.",
    ),
    (
        lambda f: (f / "images/fold2/images.npy").write_bytes(b""),
        IMAGES + MAPPED + "EOF: reading magic string, expected 8 bytes got 0.",
    ),
    (_change("masks.npy", lambda a: a > 0), MASKS + " holds bool and should hold numbers."),
    (
        _change("images.npy", lambda a: a.astype(str)),
        IMAGES + " holds <U32 and should hold numbers.",
    ),
    (
        _change("masks.npy", lambda a: a[..., :5]),
        MASKS + " is [3, 256, 256, 5] and should be [N, 256, 256, 6].",
    ),
    (
        _change("types.npy", lambda a: a[:2]),
        "{f} has different numbers of patches: 3 in images.npy, 2 in types.npy, 3 in masks.npy.",
    ),
    (
        _change("types.npy", lambda a: np.arange(3)),
        TYPES + " is int64 [3] and should be a text per patch.",
    ),
    (
        _change("types.npy", _put(1, "Brain")),
        TYPES + ": the tissue 'Brain' is unknown (patches: 1, first 1); known are "
        f"{', '.join(TISSUES)}.",
    ),
]
BROKEN_PATCHES = [
    (
        _change("images.npy", _put((1, 0, 0, 0), 300)),
        IMAGES + ", patch 1: the values reach from {low} to 300, not 0 to 255.",
    ),
    (
        _change("images.npy", _put(1, 0.5)),
        IMAGES + ", patch 1: the values reach from 0.5 to 0.5, not 0 to 255.",
    ),
    (
        _change("masks.npy", _put((1, 5, 5, 2), 0.5)),
        MASKS + ", patch 1: the connective channel has fractional ids, such as 0.5.",
    ),
    (
        _change("masks.npy", _put((1, 5, 5, 3), -2)),
        MASKS + ", patch 1: the dead channel has negative ids, such as -2.0.",
    ),
    (
        _change("masks.npy", _put((slice(2, 3), slice(5), slice(4), [1, 3, 5]), [7, 7, 0])),
        MASKS + ", patch 2: ids shared between channels: 1 (first 7, in inflammatory and dead), "
        "with 20 pixels in both.",
    ),
    (
        _change("masks.npy", _put((2, slice(3), slice(4), 5), 0)),
        MASKS + ", patch 2: the background channel contradicts the nuclei at 12 pixels.",
    ),
    (
        _change("images.npy", lambda a: a[[0, 0, 2]]),
        "fold2/1 has the same pixels as fold2/0.",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), BROKEN_ARRAYS + BROKEN_PATCHES)
def test_broken_pannuke_is_named(
    fold: Path,
    spoil: Callable[[Path], None],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(fold)

    assert main([str(fold)]) == 1

    low = f"{np.load(fold / 'images/fold2/images.npy')[1].min():g}" if "{low}" in message else ""
    expected = message.replace("{f}", str(fold)).replace("{low}", low)
    assert capsys.readouterr().err.splitlines() == [expected]
