"""The protocols: which patches go where, and what the last table says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tensorflow as tf

from training.data.pannuke import PanNukeFold, find_folds
from training.protocol import main, random_split, rotation
from training.recipe import FOLDER


def _names(data) -> set[str]:
    return {entry.name for entry in data.entries}


def test_rotation_trains_validates_and_scores_on_three_folds(pannuke: Path) -> None:
    folds = {number: PanNukeFold(folder) for number, folder in find_folds(pannuke).items()}

    splits = list(rotation(folds))

    assert [split.name for split in splits] == ["split1", "split2", "split3"]
    for split, (training, validation, test) in zip(
        splits, ((1, 2, 3), (2, 1, 3), (3, 2, 1)), strict=True
    ):
        assert _names(split.training) == _names(folds[training])
        assert _names(split.validation) == _names(folds[validation])
        assert _names(split.test) == _names(folds[test])


def test_random_split_takes_a_fifth_of_every_tissue_and_repeats_itself(pannuke: Path) -> None:
    folds = {number: PanNukeFold(folder) for number, folder in find_folds(pannuke).items()}

    (split,), (again,) = random_split(folds), random_split(folds)

    # Three patches of each of three tissues: a fifth is one.
    assert sorted(entry.tissue for entry in split.test.entries) == sorted(
        entry.tissue for entry in folds[1].entries
    )
    parts = [_names(part) for part in (split.training, split.validation, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 9
    assert _names(again.test) == _names(split.test)


def test_a_protocol_ends_in_the_papers_table(
    pannuke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "short.toml"
    text = (FOLDER / "lite.toml").read_text().replace('"imagenet"', '"random"')
    recipe.write_text(
        text.replace("epochs = 40", "epochs = 1").replace("= 100 ", "= 1 ").replace("= 8", "= 1")
    )
    arguments = ["random", "--pannuke", str(pannuke), "--recipe", str(recipe)]

    tf.config.run_functions_eagerly(True)
    try:
        assert main([*arguments, "--out", str(tmp_path / "runs")]) == 0
    finally:
        tf.config.run_functions_eagerly(False)

    printed = capsys.readouterr().out
    assert re.search(r"TSFD-Net +0\.504 +0\.638\n", printed)
    assert re.search(r"recipe .*short\.toml, random 80/20 +\d\.\d{3} +\d\.\d{3}\n", printed)
    result = json.loads((tmp_path / "runs" / "random" / "metrics.json").read_text())
    assert len(result["sha256"]) == 64
    assert result["settings"]["method"] == "watershed"


def test_a_missing_fold_is_named(
    pannuke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "PanNuke"
    one.mkdir()
    (one / "Fold 1").symlink_to(pannuke / "Fold 1")

    assert main(["rotation", "--pannuke", str(one), "--out", str(tmp_path / "runs")]) == 1

    assert capsys.readouterr().err == f"protocol: {one} lacks fold 2 of PanNuke's three.\n"
