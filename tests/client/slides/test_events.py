"""The log of a run, whatever has become of the process that wrote it."""

from __future__ import annotations

from pathlib import Path

from tsfd_client.slides.events import FILE, Events, read_events


def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        events.write("begun", tiles=3)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"time": 17, "event": "blo')  # killed here
    with Events(tmp_path) as events:
        events.write("begun", tiles=4)

    assert [event["tiles"] for event in read_events(tmp_path)] == [3, 4]
