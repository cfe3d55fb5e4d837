"""The scores of every set that reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fields import write_manifest

from serving.environment import ROOT
from training import evaluate, scorecard
from training.evaluation import in_process

LITE = ROOT / "weights" / "lite.npz"


@pytest.mark.slow
@pytest.mark.usefixtures("built_once")
def test_each_set_is_scored_as_on_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process, "BATCH", 1)  # no empty tiles beside the one of an image
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    write_manifest(tmp_path / "a", [(200, 200)] * 16, split="train")
    write_manifest(tmp_path / "b", [(200, 200)] * 2, split="test")
    entries = []
    for name in ("a", "b"):
        for entry in json.loads((tmp_path / name / "manifest.json").read_text()):
            files = {key: f"{name}/{entry[key]}" for key in ("image", "masks")}
            entries.append(entry | files | {"set": name})
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    (tmp_path / "other").mkdir()
    other = Path(shutil.copy(LITE, tmp_path / "other" / "weights.npz"))  # as a training names it
    out = tmp_path / "out"
    arguments = ["--manifest", str(tmp_path), "--out", str(out)]

    assert scorecard.main([*arguments, "--weights", str(LITE), str(other)]) == 0

    shown = capsys.readouterr().out
    lines = (out / "scores.md").read_text().splitlines()
    head = "| data | weights | bPQ | PQ | mPQ | F1 within 3 µm | calibration error |"
    assert lines[2:4] == [head, "|---|---|---|---|---|---|---|"]
    rows = [line.split(" | ") for line in lines[4:8]]
    assert [row[1] for row in rows] == ["lite", "other"] * 2
    assert [row[0].split(":")[0] for row in rows[::2]] == [
        "| a, train, held back to report",
        "| b, test",
    ]
    assert rows[0][2:] == rows[1][2:]
    assert "nan" not in shown
    assert f"Wrote {out / 'scores.md'}." in shown

    alone = tmp_path / "alone"
    own = ["--manifest", str(tmp_path), "--set", "b", "--out", str(alone)]
    assert evaluate.main([*own, "--weights", str(LITE)]) == 0
    expected, found = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (alone, out / "lite" / "b-test")
    )
    assert found["scores"] == expected["scores"]
    assert found["classes"] == expected["classes"]
    pq = found["scores"]["pq"]
    assert rows[2][3] == f"{pq['value']:.3f} [{pq['low']:.3f}, {pq['high']:.3f}]"


def test_two_files_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        scorecard.main(["--manifest", "data", "--weights", str(LITE), "elsewhere/lite.npz"])
    assert "two files would have one name in the tables: lite, lite\n" in capsys.readouterr().err


def test_nothing_to_report_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path, [(64, 64)] * 3, split="train")
    assert scorecard.main(["--manifest", str(tmp_path), "--weights", str(LITE)]) == 1
    assert capsys.readouterr().err == (
        f"scorecard: {tmp_path} has no image to report scores of: none is of the split 'test', "
        "and its sets have too few groups to hold one back.\n"
    )
