"""The protocols: which patches go where, and what the last table says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
import tiny

from training.data.annotated import Dataset, Entry
from training.data.pannuke import PanNukeFold, find_folds
from training.evaluation import in_process
from training.protocol import main, random_split, rotation


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


def test_random_split_validates_on_an_eighth_of_the_rest() -> None:
    entries = [
        Entry(f"{tissue}/{n}", "made", f"{tissue}/{n}", tissue, (256, 256), lambda: None)
        for tissue in range(2)
        for n in range(400)
    ]
    (split,) = random_split({1: Dataset(entries)})

    parts = (split.training, split.validation, split.test)
    assert [len(part) for part in parts] == [560, 80, 160]
    assert len(set().union(*map(_names, parts))) == 800


@pytest.fixture
def arguments(
    pannuke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Of a protocol of one short training, which runs without compiling."""
    recipe = tmp_path / "short.toml"
    recipe.write_text(
        tiny.RECIPE.replace("epochs = 2", "epochs = 1").replace("epoch = 3", "epoch = 1")
    )
    monkeypatch.setattr(in_process, "BATCH", 1)  # no empty tiles beside the one of an image
    tf.config.run_functions_eagerly(True)
    yield [
        *("random", "--pannuke", str(pannuke), "--recipe", str(recipe)),
        *("--out", str(tmp_path / "runs")),
    ]
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
def test_a_protocol_ends_in_the_papers_table(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0

    printed = capsys.readouterr().out
    assert re.search(r"TSFD-Net +0\.504 +0\.638\n", printed)
    assert re.search(r"recipe .*short\.toml, random 80/20 +\d\.\d{3} +\d\.\d{3}\n", printed)
    run = tmp_path / "runs" / "random"
    result = json.loads((run / "metrics.json").read_text())
    assert len(result["sha256"]) == 64
    assert result["settings"]["method"] == "watershed"
    # What is scored on PanNuke has seen nothing but its own training patches.
    assert json.loads((run / "settings.json").read_text())["start"] == "random"


def test_a_protocol_begins_from_no_weights_file(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*arguments, "--start", "weights/lite.npz"])
    assert "unrecognized arguments: --start weights/lite.npz" in capsys.readouterr().err


def test_a_protocol_refuses_a_recipe_that_goes_on_from_weights(
    pannuke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["random", "--pannuke", str(pannuke), "--out", str(tmp_path / "runs")]
    assert main([*command, "--recipe", "further"]) == 1
    assert capsys.readouterr().err == (
        "protocol: further goes on from trained weights, but a protocol scores what is learned "
        "from its own patches alone: choose another recipe.\n"
    )
    assert not (tmp_path / "runs").exists()


INTERRUPTED = """
import os, signal, sys
import tensorflow as tf, tiny
from training.data.batches import Batches
from training.protocol import main

tf.config.run_functions_eagerly(True)
get = Batches.__getitem__

def interrupted(batches, index):
    os.kill(os.getpid(), signal.SIGINT)
    return get(batches, index)

Batches.__getitem__ = interrupted
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_stopped_protocol_says_how_to_go_on(arguments: list[str]) -> None:
    stopped = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments],
        env=os.environ | {"PYTHONPATH": tiny.PYTHONPATH},
        capture_output=True,
        text=True,
        check=False,
    )

    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == (
        "protocol: stopped; the same command goes on from the last checkpoint."
    )


def test_a_missing_fold_is_named(
    pannuke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "PanNuke"
    one.mkdir()
    (one / "Fold 1").symlink_to(pannuke / "Fold 1")

    assert main(["rotation", "--pannuke", str(one), "--out", str(tmp_path / "runs")]) == 1

    assert capsys.readouterr().err == f"protocol: {one} lacks fold 2 of PanNuke's three.\n"
