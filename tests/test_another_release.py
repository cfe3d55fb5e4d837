"""A release of three classes at 0.5 µm per pixel: everything follows what it says of itself.

It is made of the shipped weights, whose last layers are cut down to three classes.
"""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

import conversion.__main__ as conversion
from samples.synthetic import generate
from serving.environment import ROOT
from serving.server import TritonServer
from training import evaluate, export
from training.model import weights
from training.model.network import build
from training.target import Target
from tsfd_client import Client, Nuclei, Settings
from tsfd_client.cli import main
from tsfd_client.release import NucleusClass
from tsfd_client.view.results import Result

TARGET = Target(
    mpp=0.5,
    classes=(
        NucleusClass("tumour", (200, 0, 200)),
        NucleusClass("immune cell", (0, 200, 200)),
        NucleusClass("stroma", (90, 90, 0)),
    ),
)
NAMES = [kind.name for kind in TARGET.classes]
BUILT = ("model.onnx", "model.plan*", "engine.*", "release.json", "config.pbtxt", "cpu.pbtxt")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights."""
    shipped, preset = weights.load(ROOT / "weights" / "lite.npz")
    network = build(preset, TARGET)
    for old, new in zip(shipped.variables, network.variables, strict=True):
        # Only the layers of the classes differ, along one axis; background comes first.
        new.assign(np.asarray(old.value)[tuple(map(slice, new.shape))])
    path = tmp_path_factory.mktemp("weights") / "three.npz"
    weights.save(network, preset, path, TARGET)
    weights.set_parameters(path, weights.parameters(ROOT / "weights" / "lite.npz"))
    return path


@pytest.fixture(scope="module")
def repository(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    repository = folder / "model_repository"
    ignored = shutil.ignore_patterns("__pycache__", *BUILT)
    shutil.copytree(ROOT / "model_repository", repository, ignore=ignored)
    saved_model = folder / "saved_model"
    assert export.main(["--weights", str(file), "--out", str(saved_model)]) == 0
    options = ["--saved-model", saved_model, "--repository", repository, "--out", folder]
    assert conversion.main([*map(str, options), "--targets", "cpu"]) == 0
    return repository


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(repository) as running:
        yield running


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    """A field at 0.5 µm per pixel."""
    image = generate(1280, 1280, nuclei=700, seed=3).image
    return cv2.resize(image, (640, 640), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def nuclei(server: TritonServer, field: np.ndarray) -> Nuclei:
    with Client(server.grpc_url) as client:
        return client.segment(field)


@pytest.fixture(scope="module")
def results(
    server: TritonServer, field: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The field as a picture that does not say its scale, and as a slide."""
    folder = tmp_path_factory.mktemp("results")
    Image.fromarray(field).save(folder / "picture.png")
    pixels = {"resolution": (1e4 / 0.5, 1e4 / 0.5), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(folder / "slide.tif") as tiff:
        tiff.write(field, tile=(256, 256), subifds=0, **pixels)
        tiff.write(field[::2, ::2], tile=(256, 256), subfiletype=1)
    images = [str(folder / name) for name in ("picture.png", "slide.tif")]
    options = [f"--server={server.grpc_url}", f"--out={folder}", "--no-tissue", "--min-area=25"]
    assert main(["segment", *images, *options]) == 0
    return folder


def test_check_says_what_is_served(
    server: TritonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", f"--server={server.grpc_url}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "Scale: 0.5 µm per pixel (20x); float."
    assert lines[2] == "Classes: tumour, immune cell, stroma."


def test_nuclei_are_of_its_classes_at_its_scale(nuclei: Nuclei, field: np.ndarray) -> None:
    assert list(nuclei.counts()) == NAMES
    assert sum(nuclei.counts().values()) == len(nuclei) > 50
    assert nuclei.mpp == 0.5
    # Taken as they are: what an outline encloses are whole pixels of the image.
    pixels = np.bincount(nuclei.instance_map.ravel())[1:]
    assert nuclei.areas_um2 == pytest.approx(pixels * 0.25)
    assert nuclei.release.colours == {kind.name: kind.colour for kind in TARGET.classes}


def test_an_image_at_another_scale_is_brought_to_its_own(
    server: TritonServer, nuclei: Nuclei, field: np.ndarray
) -> None:
    large = cv2.resize(field, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    with Client(server.grpc_url) as client:
        found = client.segment(large, mpp=0.25)
    assert len(found) == pytest.approx(len(nuclei), rel=0.1)
    assert found.areas_um2.sum() == pytest.approx(nuclei.areas_um2.sum(), rel=0.1)


def test_outputs_tell_release_classes_and_thresholds(results: Path, nuclei: Nuclei) -> None:
    served = nuclei.release.with_settings(Settings(min_area=25))
    assert served.name.endswith("+min_area=25")
    picture = json.loads((results / "picture" / "nuclei.geojson").read_text())
    summary = json.loads((results / "slide" / "summary.json").read_text())
    for told in (picture, summary):
        assert told["release"] == served.name
        assert told["served"] == served.to_dict()
    assert list(summary["classes"]) == NAMES
    colours = {tuple(f["properties"]["classification"]["color"]) for f in picture["features"]}
    assert colours <= {kind.colour for kind in TARGET.classes}
    table = pq.read_table(results / "slide" / "nuclei.parquet")
    assert summary["nuclei"] == len(picture["features"]) == len(table)
    assert set(table["class"].to_pylist()) <= set(NAMES)
    overlay = np.asarray(Image.open(results / "picture" / "overlay.png")).reshape(-1, 3)
    assert (overlay == TARGET.classes[0].colour).all(axis=1).any()


def test_exports_know_its_classes(results: Path, tmp_path: Path) -> None:
    import anndata
    import highdicom

    for kind in ("anndata", "dicom-ann"):
        command = ["export", str(results / "slide"), "--to", kind, "--out", str(tmp_path / kind)]
        assert main(command) == 0
    annotated = anndata.read_h5ad(tmp_path / "anndata")
    assert annotated.obs["class"].cat.categories.tolist() == NAMES
    groups = highdicom.ann.annread(tmp_path / "dicom-ann").get_annotation_groups()
    assert {group.label for group in groups} <= set(NAMES)


@pytest.mark.parametrize("name", ["picture", "slide"])
def test_the_page_and_a_comparison_know_its_classes(
    results: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Result(results / name)) as result:
        view = result.view()
    assert [(kind["name"], kind["colour"]) for kind in view["classes"]] == [
        (kind.name, kind.colour) for kind in TARGET.classes
    ]
    assert view["settings"]["min_area"] == 25
    assert main(["compare", *[str(results / name)] * 2]) == 0
    rows = capsys.readouterr().out.splitlines()[4:7]
    assert [row.strip().rsplit(maxsplit=5)[0] for row in rows] == NAMES


def test_metrics_count_its_classes(server: TritonServer, nuclei: Nuclei) -> None:
    with urllib.request.urlopen(server.metrics_url) as answer:
        text = answer.read().decode()
    counted = [line for line in text.splitlines() if line.startswith("tsfd_nuclei_total")]
    assert sorted(line.split('"')[1] for line in counted) == sorted(NAMES)


def test_classes_of_other_names_are_not_scored(
    server: TritonServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The annotated ones are neoplastic."""
    folder, out = manifest(tmp_path / "data"), tmp_path / "out"
    arguments = ["--manifest", str(folder), "--server", server.grpc_url, "--out", str(out)]
    assert evaluate.main(arguments) == 0
    note = "Not scored, as the network has no classes of these names: neoplastic."
    assert note in capsys.readouterr().out.splitlines()
    scores = json.loads((out / "metrics.json").read_text())
    assert (scores["note"], scores["classes"]) == (note, {})
    assert scores["scores"]["detection_f1"]["value"] > 0


def manifest(folder: Path) -> Path:
    """A data set of one field."""
    folder.mkdir()
    field = generate(256, 256, nuclei=20, seed=1)
    Image.fromarray(field.image).save(folder / "image.png")
    labels = np.full(field.instance_map.max(), "neoplastic")
    np.savez(folder / "masks.npz", instances=field.instance_map, label=labels)
    entry = {"image": "image.png", "masks": "masks.npz", "set": "made", "split": "test"}
    entry |= {"tissue": None, "group": "one", "mpp": 0.25}
    (folder / "manifest.json").write_text(json.dumps([entry]))
    return folder
