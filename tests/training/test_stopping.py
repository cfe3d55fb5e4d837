"""A training that is asked to end while compiled code does not come back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving.environment import ROOT

# Minutes in which no handler of Python's runs.
PROGRAM = """
import hashlib, sys, threading
from pathlib import Path
from training.stopping import Stopping

with Stopping(Path(sys.argv[1])):
    threading.Timer(0.5, print, ["ready"], {"flush": True}).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        (True, "stopped; --resume goes on from the last checkpoint."),
        (False, "stopped before the first step was done: nothing is lost, begin again."),
    ],
)
def test_the_process_ends_without_it(tmp_path: Path, saved: bool, sentence: str) -> None:
    state = tmp_path / "checkpoint.npz"
    if saved:
        state.touch()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, state],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        error = process.stderr.read()

    assert (process.returncode, error) == (130, f"\ntrain: {sentence}\n")
