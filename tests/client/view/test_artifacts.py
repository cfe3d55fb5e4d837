"""Pen and blur on the page: outlined on the map, and said with their areas."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page

from tests.client.view.conftest import SIDE
from tests.client.view.pages import NAME, drawn
from tests.client.view.test_view_server import TOKEN, serving
from tsfd_client.pixels.artifacts import COLOURS, Artifact, write_artifacts

FIGURES = {"artifacts": {"pen": 0.0324, "blur": 0.0081}, "left_out": ["pen"]}


def picture(page: Page) -> np.ndarray:
    """The map, int64 [h, w, 3], RGB."""
    content = np.frombuffer(page.locator("#map canvas").screenshot(), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_outlines_and_areas(browser: Browser, shown: Path) -> None:
    places = {"pen": np.s_[4:26, 4:26], "blur": np.s_[30:41, 30:41]}
    artifacts = []
    for kind, place in places.items():
        mask = np.zeros((45, 45), bool)
        mask[place] = True
        artifacts.append(Artifact(kind, mask, is_left_out=kind == "pen"))
    run = shown / NAME
    write_artifacts(run / "artifacts.geojson", artifacts, SIDE, SIDE)
    (run / "summary.json").write_text(json.dumps(FIGURES))
    with serving(shown) as url:
        page = browser.new_page(viewport={"width": 1040, "height": 700})
        page.goto(f"{url}/?token={TOKEN}#{NAME.replace(' ', '%20').replace('&', '%26')}")
        drawn(page)
        assert page.inner_text("#artifacts") == (
            "Pen covers 0.032 mm² and was left out. Blur covers 0.0081 mm² and was segmented."
        )
        page.evaluate("document.querySelector('#settings').open = true")
        outlined = picture(page)
        page.evaluate("document.body.dataset.state = ''")
        page.uncheck("#tissue")
        drawn(page)
        bare = picture(page)
        for colour in COLOURS.values():
            nearer = abs(bare - colour).sum(axis=2) - abs(outlined - colour).sum(axis=2)
            assert (nearer > 60).sum() > 200
        page.close()


def test_damaged_figures_hide_nothing_else(browser: Browser, shown: Path) -> None:
    (shown / NAME / "summary.json").write_text('{"artifacts": [1], "left_out": 7}')
    with serving(shown) as url:
        page = browser.new_page()
        page.goto(f"{url}/?token={TOKEN}#{NAME.replace(' ', '%20').replace('&', '%26')}")
        drawn(page)
        assert not page.is_visible("#artifacts")
        page.close()
