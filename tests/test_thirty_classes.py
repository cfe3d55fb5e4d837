"""The shipped network with thirty classes of one's own, converted and served."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import conversion.__main__ as conversion
from samples import histology
from serving.environment import ROOT
from serving.server import TritonServer
from training import export
from training.exported import file_sha256
from training.target import CLASSES
from tsfd_client import Client
from tsfd_client.classes import head
from tsfd_client.classes.head import Head, OwnClass
from tsfd_client.classes.labels import PALETTE
from tsfd_client.cli import main

LITE = ROOT / "weights" / "lite.npz"
BUILT = ("model.onnx", "model.plan*", "engine.*", "release.json", "config.pbtxt", "cpu.pbtxt")
KINDS = tuple(
    OwnClass(f"{CLASSES[1 + number % 5]} {number // 5}", colour, CLASSES[1 + number % 5])
    for number, colour in enumerate(PALETTE[:30])
)
FEATURES = 288
NAMES = [kind.name for kind in KINDS]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("thirty")
    made = Head(
        KINDS,
        np.zeros((FEATURES, len(KINDS)), np.float32),
        np.zeros((5, len(KINDS)), np.float32),
        # The first of each family is the likeliest.
        -np.array([number // 5 for number in range(len(KINDS))], np.float32),
        CLASSES[1:],
        "lite",
        file_sha256(LITE),
    )
    head.save(made, folder / "thirty.npz")
    repository, saved_model = folder / "model_repository", folder / "saved_model"
    ignored = shutil.ignore_patterns("__pycache__", *BUILT)
    shutil.copytree(ROOT / "model_repository", repository, ignore=ignored)
    weights = str(folder / "thirty.npz")
    assert export.main(["--weights", weights, "--out", str(saved_model)]) == 0
    options = ["--saved-model", saved_model, "--repository", repository, "--out", folder]
    assert conversion.main([*map(str, options), "--targets", "cpu"]) == 0
    with TritonServer(repository) as running:
        yield running


def test_everything_knows_them(server: TritonServer, tmp_path: Path) -> None:
    import anndata

    field = np.asarray(Image.open(histology.path()))[:512, :512]
    with Client(server.grpc_url) as client:
        nuclei = client.segment(field)
        assert len(client.release().network_classes) == 5
    counts = nuclei.counts()
    assert list(counts) == NAMES
    assert sum(count > 0 for count in counts.values()) > 1

    Image.fromarray(field).save(tmp_path / "field.png")
    options = [f"--server={server.grpc_url}", f"--out={tmp_path}", "--mpp=0.25", "--no-tissue"]
    assert main(["segment", str(tmp_path / "field.png"), *options]) == 0
    overlay = np.asarray(Image.open(tmp_path / "field" / "overlay.png")).reshape(-1, 3)
    most = NAMES.index(max(counts, key=counts.__getitem__))
    assert (overlay == KINDS[most].colour).all(axis=1).any()
    geojson = json.loads((tmp_path / "field" / "nuclei.geojson").read_text())
    shown = {f["properties"]["classification"]["name"] for f in geojson["features"]}
    assert shown == {name for name, count in counts.items() if count}

    out = tmp_path / "field.h5ad"
    assert main(["export", str(tmp_path / "field"), "--to", "anndata", "--out", str(out)]) == 0
    assert anndata.read_h5ad(out).obs["class"].cat.categories.tolist() == NAMES

    with urllib.request.urlopen(server.metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    counted = [line for line in lines if line.startswith("tsfd_nuclei_total")]
    assert sorted(line.split('"')[1] for line in counted) == sorted(NAMES)
