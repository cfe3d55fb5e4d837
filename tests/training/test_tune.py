"""The search for thresholds: what it scores, and what it leaves in the weights file."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from fields import write_manifest
from instances import Parameters

from serving.environment import ROOT
from training import evaluate, tune
from training.evaluation import in_process
from training.model import weights

LITE = ("--weights", str(ROOT / "weights" / "lite.npz"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of seventeen images, one of which is held back to choose by and one to report."""
    folder = tmp_path_factory.mktemp("manifest")
    write_manifest(folder, [(200, 200)] * 17, split="train")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "weights" / "lite.npz", tmp_path / "lite.npz"))


@pytest.mark.slow
@pytest.mark.usefixtures("built_once")
def test_the_best_setting_goes_into_the_weights_file(
    manifest: Path,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_process, "BATCH", 1)  # no empty tiles beside the one of the image
    weights.centre(file, Parameters(0.2, 0.6))  # which is far from what suits the network
    before = file.read_bytes()
    arguments = ["--manifest", str(manifest), "--weights", str(file)]

    assert tune.main(arguments) == 0
    assert file.read_bytes() == before
    shown = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{file}: the best of \d+ settings on 1 images", shown[0])
    foreground, boundary, area, _, quality, *_ = shown[2].split()
    assert foreground != "0.5"

    assert tune.main([*arguments, "--write"]) == 0
    found = weights.parameters(file)
    assert (found.foreground_threshold, found.boundary_threshold) == (0.5, 0.5)
    assert f"{found.min_area}" == area
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"Put the best into {file}, with biases that move its thresholds from {foreground} "
        f"(foreground) and {boundary} (boundary) to 0.5; its min_confidence then is best at "
        f"{found.min_confidence:g}."
    )

    # Nothing is lost, and the evaluation finds the same.
    assert tune.main(arguments) == 0
    now = capsys.readouterr().out.strip().splitlines()[-1].split()
    assert float(now[5]) >= float(quality) - 0.002
    assert now[:4] == [f"{value:g}" for value in list(asdict(found).values())[:4]]
    choosing = ["--held-back", "choosing", "--out", str(file.parent)]
    assert evaluate.main([*arguments, *choosing]) == 0
    result = json.loads(file.with_name("metrics.json").read_text())
    assert result["settings"] == asdict(found) | {"method": "watershed"}
    assert result["split"] == "train, held back to choose settings by"
    assert [f"{result['scores'][key]['value']:.3f}" for key in ("pq", "mpq")] == now[5:7]


def test_nothing_to_choose_by_is_named(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main(["--manifest", str(manifest), "--set", "kumar", *LITE]) == 1
    assert capsys.readouterr().err == (
        "tune: No image of the set 'kumar' is held back to choose settings by; those of fields "
        "are.\n"
    )
    write_manifest(tmp_path, [(64, 64)] * 3, split="train")
    assert tune.main(["--manifest", str(tmp_path), *LITE]) == 1
    assert capsys.readouterr().err == (
        "tune: No image of the split 'train' is held back to choose settings by: its sets have "
        "too few groups.\n"
    )


def test_the_search_finds_what_depends_on_another() -> None:
    # The best confidence depends on the foreground threshold, and the best area on the boundary.
    def score(setting: Parameters) -> float:
        foreground, boundary, area, confidence = list(asdict(setting).values())[:4]
        off = abs(foreground - 0.9) + abs(confidence - foreground - 0.05)
        off += abs(boundary - 0.7) + abs(area - 100 * boundary + 10) / 100
        return 1 - off

    tried = tune.search(score, Parameters())

    assert tried[0] == Parameters(0.9, 0.7, 60, 0.95)
    assert len(tried) < 250
    assert Parameters() in tried


def test_the_present_setting_stays_if_none_of_the_grid_is_better() -> None:
    now = Parameters(0.5, 0.5, 37, 0.88)

    def score(setting: Parameters) -> float:
        return -abs(setting.min_area - 37) - abs(setting.min_confidence - 0.88)

    assert tune.search(score, now)[0] == now
