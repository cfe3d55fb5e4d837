"""The benchmark of precisions scores the installed network as the training scores its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench import precision
from conversion.errors import ConversionError
from conversion.release import release_file
from serving.environment import ROOT
from tests.training.fields import write_manifest
from training import scorecard
from training.data.annotated import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    write_manifest(folder, [(256, 256)] * 16, split="train")
    return folder


def test_float32_scores_as_the_weights_do(repository: Path, data: Path, tmp_path: Path) -> None:
    figures = precision.measure(repository, data)
    with pytest.raises(DataError, match="has no images of kumar, tnbc that report scores"):
        precision.measure(repository, data, ["kumar", "tnbc"])

    weights = ["--weights", str(ROOT / "weights" / "lite.npz"), "--out", str(tmp_path)]
    assert scorecard.main(["--manifest", str(data), *weights]) == 0
    (file,) = tmp_path.glob("lite/*/metrics.json")
    expected = json.loads(file.read_text())["scores"]["pq"]["value"]
    (name,) = figures["pq"]["float32"]
    assert name == "fields/train, held back to report"
    assert figures["pq"]["float32"][name] == pytest.approx(expected, abs=0.002)
    assert {"float32", "FP16", "INT8 and float32"} <= set(figures["pq"])
    assert all(0.5 < mean < 1 for mean in figures["mean"].values())
    (row, mean) = precision.table(figures).rows
    assert row[:2] == (name, f"{figures['mean']['float32']:.3f}")
    assert mean[0] == "mean"


def test_int8_is_not_compared_with_itself(repository: Path, data: Path, tmp_path: Path) -> None:
    file = release_file(tmp_path)
    file.parent.mkdir(parents=True)
    shutil.copy(release_file(repository), file)
    file.write_text(file.read_text().replace('"precision": "float"', '"precision": "int8"'))
    with pytest.raises(ConversionError, match="holds INT8: run `make convert` without INT8= first"):
        precision.measure(tmp_path, data)
