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


def test_classes_that_are_rarely_right_are_warned_of(lesson: Lesson, tmp_path: Path) -> None:
    """If they are used at all."""
    warning = "Do not rely on classes whose F1 is below 0.3: plasma (0.12)."
    judged = lesson.judgement
    f1 = judged.after.f1.copy()
    f1[0, 0] = 0.12
    weak = replace(lesson, judgement=replace(judged, after=replace(judged.after, f1=f1)))
    write_html(weak, tmp_path / "report.html")
    assert warning in text(weak)
    assert warning in (tmp_path / "report.html").read_text()
    assert "Do not rely" not in text(lesson)
    assert "Do not rely" not in text(replace(weak, head=None))


def test_classes_without_marks_are_not_judged(lesson: Lesson, tmp_path: Path) -> None:
    some = replace(lesson, marks=np.array([80, 80, 0]), worth=np.array([0.1, 0.1, np.nan]))
    write_html(some, tmp_path / "report.html")
    page, said = (tmp_path / "report.html").read_text(), text(some)
    assert not re.search(r"^dead ", said, re.MULTILINE)
    assert re.search(r"^mean +160 ", said, re.MULTILINE)
    assert re.search(r"^160 +80 ", said.split("Learning curve:")[1], re.MULTILINE)
    assert ">160</text>" in page
    assert re.search(r"^dead ", text(lesson), re.MULTILINE)


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
