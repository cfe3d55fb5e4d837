"""Tables on the terminal."""

from __future__ import annotations

import pytest

from training.table import Table, show

TABLE = Table(
    "A title [longer than the table]", ("system", "PQ"), (("Hover-Net", "0.597"), ("ours", "-"))
)


def test_a_table_in_a_pipe_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show([TABLE])

    assert capsys.readouterr().out == (
        "A title [longer than the table]\nsystem        PQ\nHover-Net  0.597\nours           -\n\n"
    )


def test_a_table_on_a_terminal_is_ruled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    show([TABLE])

    printed = capsys.readouterr().out
    assert "\x1b[1mA title [longer than the table]\x1b[0m" in printed
    assert "─────" in printed
    assert " Hover-Net   0.597 \n" in printed
