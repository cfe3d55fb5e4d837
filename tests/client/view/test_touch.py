"""Fingers on the page: one moves the map, two zoom, and taps choose nuclei and draw regions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.client.view.pages import NAME, drawn, go
from tests.client.view.test_regions import CORNERS, place, saved
from tests.client.view.test_view_server import TOKEN


@pytest.fixture
def page(browser: Browser, url: str, shown: Path) -> Iterator[Page]:
    """The slide's page on a tablet, a pixel of level 0 per pixel."""
    context = browser.new_context(viewport={"width": 1024, "height": 768}, has_touch=True)
    page = context.new_page()
    page.goto(f"{url}/?token={TOKEN}")
    page.tap(f"text={NAME}")
    drawn(page)
    go(page, 300, 300, 1)
    yield page
    context.close()
    (shown / NAME / "regions.geojson").unlink(missing_ok=True)


def touch(page: Page, *ways: tuple[np.ndarray, np.ndarray], steps: int = 10) -> None:
    """Move fingers over the screen, each from one point to another."""
    session: CDPSession = page.context.new_cdp_session(page)

    def send(kind: str, share: float | None = None) -> None:
        at = [] if share is None else [a + (b - a) * share for a, b in ways]
        points = [{"x": float(x), "y": float(y), "id": i} for i, (x, y) in enumerate(at)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", 0)
    for step in range(1, steps + 1):
        send("touchMove", step / steps)
        page.wait_for_timeout(20)
    page.wait_for_timeout(300)  # so that the map does not glide on
    send("touchEnd")
    session.detach()


def seen(page: Page) -> tuple[float, float, float]:
    """Centre and zoom."""
    x, y, zoom = map(float, re.findall("/([0-9.-]+)/([0-9.-]+)/([0-9.-]+)", page.url)[0])
    return x, y, zoom


def test_one_finger_moves_the_map(page: Page) -> None:
    begin = np.array(place(page, 300, 300))
    touch(page, (begin, begin + np.array([-120, 60])))
    expect(page).not_to_have_url(re.compile("/300.0/300.0/"))
    x, y, zoom = seen(page)
    assert (x, y) == pytest.approx((420, 240), abs=15)
    assert zoom == 1


def test_two_fingers_zoom(page: Page) -> None:
    middle = np.array(place(page, 300, 300))
    right = np.array([60, 0])
    touch(page, *((middle + side * right, middle + 4 * side * right) for side in (-1, 1)))
    expect(page).not_to_have_url(re.compile("/1.000$"))
    x, y, zoom = seen(page)
    assert zoom == pytest.approx(3, abs=0.3)
    assert (x, y) == pytest.approx((300, 300), abs=15)


def test_a_tap_chooses_a_nucleus(page: Page, nuclei: pd.DataFrame) -> None:
    x, y = nuclei["centroid_x"], nuclei["centroid_y"]
    nearest = np.hypot(x - 300, y - 300).idxmin()
    page.touchscreen.tap(*place(page, x[nearest], y[nearest]))
    assert page.inner_text("#figures dd >> nth=0") == str(nuclei["id"][nearest])


@pytest.mark.parametrize("ends", ["button", "double tap"])
def test_taps_draw_a_region(page: Page, shown: Path, ends: str) -> None:
    page.tap("#draw")
    corners = [place(page, *corner) for corner in CORNERS]
    for corner in corners:
        page.touchscreen.tap(*corner)
        page.wait_for_timeout(500)  # two taps at once end it
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        if ends == "button":
            page.tap("#draw")
        else:
            for _ in range(2):
                page.touchscreen.tap(*corners[0])
    expect(page.locator("#region-list li")).to_have_count(1)
    (feature,) = saved(shown)
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert ring.shape == (len(CORNERS) + 1, 2)
    assert np.abs(ring[:-1] - CORNERS).max() < 2


def test_a_phone_has_room_for_the_map(browser: Browser, url: str) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 667}, has_touch=True)
    page = context.new_page()
    page.goto(f"{url}/?token={TOKEN}")
    page.tap(f"text={NAME}")
    drawn(page)
    box = page.locator("#map").bounding_box()
    covered = 0.0
    for name in ("#tools > div", "#overview", "#legend", "#foot > *"):
        for part in page.locator(name).all():
            size = part.bounding_box() or {"width": 0, "height": 0}
            covered += size["width"] * size["height"]
    context.close()
    assert covered < 0.4 * box["width"] * box["height"]
