"""Thresholds are checked before anything is sent, and as the server checks them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from instances import Parameters

from tsfd_client import Settings, TsfdError
from tsfd_client.cli import main


@pytest.mark.parametrize(
    "wrong",
    [
        {"foreground_threshold": 0},
        {"boundary_threshold": 1.0},
        {"boundary_threshold": float("nan")},
        {"foreground_threshold": "0.5"},
        {"foreground_threshold": True},
        {"min_area": -1},
        {"min_area": 2.5},
        {"min_area": True},
        {"min_confidence": 1},
        {"min_confidence": -0.1},
    ],
)
def test_client_and_server_refuse_the_same(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=" must be ") as by_the_server:
        Parameters(**wrong)
    with pytest.raises(TsfdError) as by_the_client:
        Settings(**wrong)
    assert str(by_the_client.value) == str(by_the_server.value)


def test_they_take_the_same() -> None:
    right = {"foreground_threshold": np.float32(0.5), "min_area": np.int64(0), "min_confidence": 0}
    Parameters(**right)
    sent = Settings(**right).parameters()
    assert {name: float(text) for name, text in sent.items()} == right
    assert sent["min_area"] == "0"


def test_the_command_line_asks_no_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segment", "a.png", f"--out={tmp_path}", "--server=localhost:1", "--min-area=-1"]
    assert main(words) == 1
    assert capsys.readouterr().err == (
        "tsfd: min_area must be a whole number of pixels >= 0, not -1.\n"
    )


def test_numbers_of_numpy_become_pythons() -> None:
    settings = Settings(foreground_threshold=np.float32(0.5), min_area=np.int64(30))
    assert json.dumps(settings.given()) == '{"foreground_threshold": 0.5, "min_area": 30}'
