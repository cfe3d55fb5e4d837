"""The evaluation command on small data, in this process and through the real server."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import keras
import numpy as np
import openvino
import pytest
from fields import write_manifest

from conversion.parity import HALF
from conversion.release import release_file
from conversion.runtimes import served_on_cpus
from metrics.panoptic_quality import panoptic_quality
from serving.environment import ROOT
from serving.server import ARTEFACT, TritonServer
from training.data.annotated import MPP
from training.data.manifest import read_manifest
from training.evaluate import main
from training.evaluation import served
from training.evaluation.in_process import Probabilities, segment, segment_all
from training.evaluation.segment_and_score import evaluate
from training.model import weights
from training.target import CLASSES
from tsfd_client import Client
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.stitching.tiling import Tile, tiling

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("built_once")]

LITE = ROOT / "weights" / "lite.npz"
SIZES = ((300, 520), (256, 256), (120, 90))
"""Height and width of the manifest's images: several tiles, one, and less than one."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a manifest: set "fields" with classes in the split "test"."""
    folder = tmp_path_factory.mktemp("manifest")
    write_manifest(folder, SIZES, split="test")
    return folder


@pytest.fixture(scope="module")
def scored(
    manifest: Path, built_once: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder of an evaluation of all its images, and what was printed."""
    out = tmp_path_factory.mktemp("scored") / "new"
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["--manifest", str(manifest), "--weights", str(LITE), "--out", str(out)]) == 0
    return out, printed.getvalue()


@pytest.fixture(scope="module")
def network(built_once: None) -> keras.Model:
    return weights.load(LITE)[0]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and the last line of standard error."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, (captured.err.strip().splitlines() or [""])[-1]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_manifest_is_scored(scored: tuple[Path, str]) -> None:
    out, shown = scored
    result = json.loads((out / "metrics.json").read_text())
    assert (result["data"], result["split"], result["images"]) == ("fields", "test", 3)
    assert re.fullmatch(r"[0-9a-f]{64}", result["sha256"])
    assert result["settings"]["method"] == "watershed"
    assert result["mean_over"] == "images"
    assert set(result["classes"]) == {"inflammatory", "connective", "neoplastic/epithelial"}
    for estimate in (result["scores"][key] for key in ("pq", "dice", "detection_f1", "mpq")):
        assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    assert result["tissues"]["Colon"]["images"] == 2

    rows = read_csv(out / "per_image.csv")
    assert [row["image"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert [int(row["nuclei"]) for row in rows] == [52, 21, 3]
    assert read_csv(out / "per_tissue.csv")[0]["tissue"] == "Colon"
    pq = result["scores"]["pq"]
    assert f"{pq['value']:.3f}  {pq['low']:.3f} to {pq['high']:.3f}\n" in shown
    assert "fields test; lite.npz" in shown
    assert "published" not in shown


def test_the_report_needs_no_other_file(scored: tuple[Path, str]) -> None:
    out, _ = scored
    page = (out / "report.html").read_text()

    sources = re.findall(r'(?:src|href)="([^"]*)', page)
    assert len(sources) == 3 * 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "Evaluation: fields test; lite.npz" in page
    assert "<h2>Best: " in page
    # The plot of confidence is in the page and beside it.
    assert "<svg" in page
    plot = ElementTree.parse(out / "reliability.svg").getroot()
    bars = plot.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == len(json.loads((out / "metrics.json").read_text())["reliability"])


def test_what_classes_are_taken_for_is_counted(scored: tuple[Path, str]) -> None:
    out, shown = scored
    result = json.loads((out / "metrics.json").read_text())

    table = result["confusion"]
    assert set(table) == {"superfluous", *result["classes"]}
    assert list(table["connective"]) == ["missed", *CLASSES[1:]]
    assert sum(table["connective"].values()) == result["classes"]["connective"]["truth"]
    assert re.search(r"^class +neoplastic +inflammatory .* +missed$", shown, re.MULTILINE)
    error = result["scores"]["calibration_error"]
    assert 0 <= error["low"] <= error["high"] <= 1
    in_bins = sum(row["nuclei"] for row in result["reliability"])
    assert (
        0
        < in_bins
        <= table["connective"]["connective"] + sum(sum(row.values()) for row in table.values())
    )


def test_pannuke_is_scored_by_tissue_beside_the_published_systems(
    pannuke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, _ = run(
        capsys, "--pannuke", pannuke, "--fold", 3, "--weights", LITE, "--out", tmp_path
    )

    assert code == 0
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert (result["data"], result["split"]) == ("pannuke", "fold 3")
    assert result["mean_over"] == "tissues"
    tissues = result["tissues"]
    assert list(tissues) == ["Bile-duct", "Breast", "Colon"]
    # The patch of the bile duct is empty: it has no PQ and does not lower the mean.
    assert tissues["Bile-duct"]["bpq"]["value"] is None
    mean = (tissues["Breast"]["bpq"]["value"] + tissues["Colon"]["bpq"]["value"]) / 2
    assert result["scores"]["bpq"]["value"] == pytest.approx(mean, abs=1e-6)
    assert len(result["classes"]) == 5
    assert re.search(r"Hover-Net +0\.463 +0\.660\n", shown)
    assert re.search(r"lite\.npz \(\w{8}\), fold 3 +0\.\d{3} +0\.\d{3}\n", shown)
    assert re.search(r"dead +0\.21[34] ", shown)
    assert re.search(r"Breast +0\.511 +0\.62[45] ", shown)


def test_process_and_server_agree(
    manifest: Path, network: keras.Model, repository: Path, server: TritonServer
) -> None:
    data = read_manifest(manifest, "test")
    form = served_on_cpus(repository / ARTEFACT)
    form.reshape({"image": [1, 256, 256, 3]})
    settings = {"PERFORMANCE_HINT": "THROUGHPUT"}  # as the server: roundings depend on the threads
    compiled = openvino.compile_model(form, "CPU", settings)
    suited = weights.parameters(LITE)

    def ask(tiles: list[Tile]) -> list[dict[str, np.ndarray]]:
        found = [compiled({"image": tile.image[None]}) for tile in tiles]
        return [{port.any_name: one[port][0].copy() for port in compiled.outputs} for one in found]

    def in_the_served_precision(images: Iterable[np.ndarray]) -> Iterator[Nuclei]:
        for image in images:
            cut = tiling(image, MPP, MPP)
            tiles = list(cut)
            yield Probabilities(cut, tiles, ask(tiles)).nuclei(suited, ask)

    float32 = partial(segment_all, network, parameters=suited)
    in_float32 = evaluate(data, float32, by_tissue=False)
    here = evaluate(data, in_the_served_precision, by_tissue=False)
    with Client(server.grpc_url) as client:
        there = evaluate(data, partial(served.segment_all, client), by_tissue=False)

    for ours, theirs in zip(in_float32.predictions, there.predictions, strict=True):
        assert len(ours.classes) > 0
        assert panoptic_quality(ours.instances, theirs.instances).pq >= HALF.panoptic_quality
    for key, estimate in here.scores.overall.items():
        other = there.scores.overall[key]
        assert other.value == pytest.approx(estimate.value, abs=0.001, nan_ok=True), key
        # A processor that computes in bfloat16 moves the border of a nucleus or two, and with it
        # these few from one bin of class_prob into another, or one out of a class that has few.
        if key not in ("calibration_error", "mpq"):
            fine = in_float32.scores.overall[key].value
            assert other.value == pytest.approx(fine, abs=0.02, nan_ok=True), key
    for ours, theirs in zip(here.scores.classes, there.scores.classes, strict=True):
        assert theirs.pq.value == pytest.approx(ours.pq.value, abs=0.001, nan_ok=True)


def test_images_are_the_same_alone_and_among_others(manifest: Path, network: keras.Model) -> None:
    images = [annotated.image for annotated in read_manifest(manifest, "test")]
    together = list(segment_all(network, images))

    assert [found.instance_map.shape for found in together] == list(SIZES)
    for image, found in zip(images, together, strict=True):
        alone = segment(network, image)
        assert panoptic_quality(alone.instance_map, found.instance_map).pq >= 0.99


def test_the_command_reads_from_a_server(
    manifest: Path, server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, _ = run(
        capsys,
        *("--manifest", manifest, "--server", server.grpc_url, "--limit", 1),
        *("--min-area", 30, "--out", tmp_path),
    )

    assert code == 0
    assert "fields test, first 1 images; server" in shown
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["weights"] == f"server {server.grpc_url}"
    served = json.loads(release_file(server.repository).read_text())
    assert (result["sha256"], result["preset"]) == (served["weights_sha256"], served["preset"])
    assert result["settings"] == {**served["parameters"], "min_area": 30}


def test_the_authors_method_is_measured_in_this_process(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--method", "reference", "--foreground-threshold", 0.3)
    code, _, _ = run(capsys, "--manifest", manifest, "--limit", 1, *chosen, "--out", tmp_path)

    assert code == 0
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["settings"]["method"] == "reference"
    assert "method reference" in (tmp_path / "report.html").read_text()
    assert 0.2 < result["scores"]["pq"]["value"] < 1


def test_no_server_offers_the_authors_method(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([f"--manifest={manifest}", "--server=localhost:9", "--method=reference"])
    said = capsys.readouterr().err
    assert said.endswith("--method reference goes with --weights: no server offers it\n")


@pytest.mark.parametrize(("options", "given"), [(["OUT=somewhere"], True), ([], False)])
def test_make_passes_on_where_to_write(options: list[str], given: bool) -> None:
    """And not the folder that `make train` writes to by default."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    command = ["make", "--dry-run", "evaluate", "DATA=folder", *options]
    shown = subprocess.check_output(command, text=True, cwd=ROOT, env=environment)

    assert "-m training.evaluate" in shown
    assert ('--out "somewhere"' in shown, "--out" in shown) == (given, given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--manifest", "{tmp}"],
            "There is no {tmp}/manifest.json: name the folder of a manifest.json.",
        ),
        (["--manifest", "{manifest}", "--split", "train"], "{manifest}/manifest.json lists no"),
        (
            ["--manifest", "{manifest}", "--split", "test", "--held-back"],
            "No image of the split 'test' is held back: its sets have too few groups.",
        ),
        (
            ["--manifest", "{manifest}", "--held-back", "reporting"],
            "{manifest}/manifest.json lists no image of the split 'train'; it has test.",
        ),
        (
            ["--manifest", "{manifest}", "--set", "kumar"],
            "The split 'test' has no set 'kumar'; it has fields.",
        ),
        (["--pannuke", "{pannuke}", "--fold", "7"], "{pannuke} has no fold 7; it has 1, 2, 3."),
        (["--pannuke", "{tmp}", "--fold", "1"], "{tmp} holds no fold of PanNuke"),
        (
            ["--manifest", "{manifest}", "--weights", "{tmp}/no.npz"],
            "There is no weights file {tmp}/no.npz.",
        ),
        (
            ["--manifest", "{manifest}", "--weights", "{manifest}/0.npz"],
            "{manifest}/0.npz is not a weights file of this project, or damaged.",
        ),
        (
            ["--manifest", "{manifest}", "--foreground-threshold", "1.5"],
            "foreground_threshold must be a number between 0 and 1 (both excluded), not 1.5.",
        ),
        (
            ["--manifest", "{manifest}", "--server", "localhost:1"],
            "No Triton server answers at localhost:1",
        ),
        (
            ["--manifest", "{manifest}", "--out", "{manifest}/0.png"],
            "Cannot write {manifest}/0.png: File exists.",
        ),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    manifest: Path,
    pannuke: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"tmp": tmp_path, "manifest": manifest, "pannuke": pannuke}
    given = ["--out", str(tmp_path), *(a.format(**places) for a in arguments)]
    code, shown, error = run(capsys, *given)

    assert (code, shown) == (1, "")
    assert error.startswith(f"evaluate: {message.format(**places)}")
    assert not (tmp_path / "metrics.json").exists()


def test_a_fold_needs_pannuke(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--manifest", str(manifest), "--fold", "1"])
    assert "--pannuke and --fold go together" in capsys.readouterr().err
