"""What of the error stream is held back while TensorFlow starts, and what is not."""

from __future__ import annotations

import os

import pytest

from training.quiet import quiet_tensorflow

START_UP = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795565754.401357   10499 cudart_stub.cc:31] Could not find cuda drivers\n"
)
ERROR = b"E0000 00:00:1795565754.401357   10499 loader.cc:1] The library is damaged\n"


def test_information_is_dropped_and_errors_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_tensorflow():
        os.write(2, START_UP + ERROR)

    assert capfd.readouterr().err.encode() == ERROR


def test_a_failed_import_shows_everything(capfd: pytest.CaptureFixture[str]) -> None:
    @quiet_tensorflow()
    def start() -> None:
        os.write(2, START_UP)
        raise ImportError("no such library")

    with pytest.raises(ImportError, match="no such library"):
        start()

    assert capfd.readouterr().err.encode() == START_UP
