"""The report says what was learned: on the terminal, and as one page that needs nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from marked_fields import BASE, World, each, own

from tsfd_client.classes.fit import Lesson, learn
from tsfd_client.classes.report import text, write_html
from tsfd_client.errors import OutputError


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    world = World(3, signal=3)
    kinds = tuple(
        replace(kind, name=name)
        for kind, name in zip(
            own("inflammatory", None, "dead"), ("plasma", "<fat> & more", "dead"), strict=True
        )
    )
    return learn(
        world.marked(np.repeat([0, 1, 2], [80, 80, 40])), world.around([1] * 3), kinds, BASE
    )


def test_the_terminal_shows_every_figure(lesson: Lesson) -> None:
    said = text(lesson)

    assert said.endswith(lesson.verdict)
    row = next(line for line in said.splitlines() if line.startswith("plasma"))
    judged = lesson.judgement
    for figure in ("80", str(judged.before.classes[0]), str(judged.after.classes[0])):
        assert figure in row
    assert str(judged.after.mean) in said
    assert "6 slides" in said
    assert "Marks are needed most of" in said
    curve = said.split("Learning curve:")[1]
    assert re.search(rf"200 +40 +{lesson.curve[-1].mean:.2f}", curve)


def test_the_page_is_complete(lesson: Lesson, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_html(lesson, path)
    page = path.read_text(encoding="utf-8")

    assert "<fat>" not in page
    assert "&lt;fat&gt; &amp; more" in page
    assert lesson.verdict in page
    for address in re.findall(r"https?://[^\"<]*", page):
        assert address == "http://www.w3.org/2000/svg"  # a name, not loaded
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 2
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_a_page_that_cannot_be_written_is_said(lesson: Lesson, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Cannot write"):
        write_html(lesson, tmp_path / "none" / "report.html")


def test_few_marks_say_nothing_of_more(tmp_path: Path) -> None:
    world = World(2, signal=3)
    lesson = learn(world.marked(each(2, 6)), world.around([1, 1]), own("dead", "connective"), BASE)
    write_html(lesson, tmp_path / "report.html")

    assert "needed most" not in text(lesson)
    assert "too few marks to say" in (tmp_path / "report.html").read_text()
