"""The page's densities: how they are drawn, and what they are per."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page

from tests.client import made
from tests.client.slide_files import write_tiff
from tests.client.view.pages import NAME, drawn, go, set_slider
from tests.client.view.test_view_server import TOKEN, serving
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.tissue import to_geojson

SIDE = 3000  # pixels of level 0, at 1 µm
TOP, LEFT, HEIGHT, WIDTH = 1000, 600, 112, 720  # of the tissue, under a hundredth of the slide
GLASS = 245
WARNING = "There are only 70 nuclei per mm² of tissue."


@pytest.fixture(scope="module")
def biopsy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A needle biopsy, dense on its left and sparse on its right."""
    folder = tmp_path_factory.mktemp("biopsy")
    image = np.full((SIDE, SIDE, 3), GLASS, np.uint8)
    texture = np.random.default_rng(0).integers(0, 2, (HEIGHT // 16, WIDTH // 16), np.uint8)
    texture = np.where(texture[..., None], (220, 150, 200), (120, 60, 130)).astype(np.uint8)
    strip = np.s_[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
    image[strip] = cv2.resize(texture, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    write_tiff(folder / "slide.tif", image, mpp=1.0, shrinks=(1, 4), compression="zlib")
    rng = np.random.default_rng(1)
    side = made.PITCH // 4  # pixels of level 0
    nuclei = [
        made.draw(rng, 4 * y, 4 * x)
        for y in range(TOP, TOP + HEIGHT - side, side)
        for x in range(LEFT, LEFT + WIDTH - side, side)
        if rng.random() < (0.9 if x < LEFT + WIDTH / 2 else 0.1)
    ]
    run = folder / "results" / NAME
    run.mkdir(parents=True)
    made.write(run / "nuclei.parquet", [nuclei], 0.25, 4 * SIDE)
    (run / "DONE").touch()
    with open_image(folder / "slide.tif") as slide:
        Origin(str(slide.path), slide.fingerprint(), slide.mpp).write(run)
    mask = np.zeros((SIDE // 8, SIDE // 8), bool)
    mask[TOP // 8 : (TOP + HEIGHT) // 8, LEFT // 8 : (LEFT + WIDTH) // 8] = True
    (run / "summary.json").write_text(json.dumps({"scale_warning": WARNING}))
    (run / "tissue.geojson").write_text(json.dumps(to_geojson(mask, SIDE, SIDE)))
    return folder / "results"


@pytest.fixture
def page(browser: Browser, biopsy: Path) -> Iterator[Page]:
    """The biopsy's page, the slide whole in view."""
    with serving(biopsy) as url:
        page = browser.new_page(viewport={"width": 1040, "height": 700})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}/?token={TOKEN}#{NAME.replace(' ', '%20').replace('&', '%26')}")
        drawn(page)
        yield page
        page.close()
    assert errors == []


def picture(page: Page, opacity: int) -> np.ndarray:
    """What the map shows, int64 [h, w, 3]."""
    page.evaluate("document.body.dataset.state = ''")
    set_slider(page, "opacity", opacity)
    drawn(page)
    style = "#tools, #overview, #legend, #foot { visibility: hidden }"
    content = np.frombuffer(page.locator("#map canvas").screenshot(style=style), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR).astype(int)


def test_tissue_shines_through_its_density(page: Page) -> None:
    """In steps by count per area of tissue, and not beyond the tissue, however little there is."""
    page.select_option("#density-of", "all")
    page.evaluate("document.querySelector('#settings').open = true")
    page.uncheck("#tissue")
    bare, covered = picture(page, 0), picture(page, 100)
    rows, columns = np.nonzero((bare < GLASS - 40).any(axis=2))
    middle = np.s_[rows.min() + 2 : rows.max() - 1]
    left, right = columns.min() + 20, columns.max() - 20
    half = (left + right) // 2
    blue = covered[..., 0] - covered[..., 2]  # the scale goes from yellow to blue
    assert blue[middle, left : half - 20].mean() > 15 > -15 > blue[middle, half + 20 : right].mean()
    for channel in range(3):
        texture = (covered[middle, left:right, channel], bare[middle, left:right, channel])
        assert texture[0].std() > 0.3 * texture[1].std()
    far = 4  # pixels: the mask is coarse
    changed = np.abs(covered - bare).mean(axis=2)
    changed[rows.min() - far : rows.max() + far, columns.min() - far : columns.max() + far] = 0
    assert changed.max() < 10  # around tissue, JPEG colours glass


def steps(page: Page) -> list[str]:
    return page.locator("#steps li").all_inner_texts()


def test_the_legend_has_numbers_of_what_is_drawn(page: Page) -> None:
    """A class at a time, or all that are shown."""
    go(page, LEFT + WIDTH / 2, TOP + HEIGHT / 2, 2)
    assert page.inner_text("#legend").endswith("one dot per nucleus")
    page.select_option("#density-of", "all")
    page.wait_for_selector("#densities:not([hidden])")
    assert page.inner_text("#unit") == "nuclei per mm² of tissue"
    top, *_, lowest = steps(page)
    step = int(lowest.removeprefix("0 to ").replace(",", ""))
    assert top == f"{4 * step:,} and more"
    # Half of the tissue has nearly all of the nuclei.
    assert 2 * step < 2 * int(page.inner_text("#density").replace(",", "")) < 6 * step
    page.select_option("#density-of", label="density: neoplastic")
    page.wait_for_function("before => steps.lastChild.textContent !== before", arg=lowest)
    assert int(steps(page)[-1].removeprefix("0 to ").replace(",", "")) < step


def test_a_dot_can_be_chosen(page: Page, biopsy: Path) -> None:
    """As long as dots can be told apart, they are drawn instead of densities."""
    nucleus = pq.read_table(biopsy / NAME / "nuclei.parquet").to_pandas().iloc[40]
    go(page, nucleus["centroid_x"], nucleus["centroid_y"], 2)
    box = page.locator("#map").bounding_box()
    row, column = int(box["height"] // 2), int(box["width"] // 2)
    middle = np.s_[row - 20 : row + 20, column - 20 : column + 20]
    before = picture(page, 90)[middle]
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#nucleus:not([hidden])")
    assert page.inner_text("#figures dd >> nth=0") == str(nucleus["id"])
    after = picture(page, 91)[middle]
    assert (np.abs(after - before).max(axis=2) > 60).sum() > 100  # a ring around it


def test_densities_are_per_area_of_tissue(page: Page) -> None:
    mm2 = HEIGHT * WIDTH / 1e6
    count = int(page.inner_text("#count").replace(",", ""))
    assert int(page.inner_text("#density").replace(",", "")) == round(count / mm2)
    assert page.inner_text("#per") == "tissue"
    assert float(page.inner_text("#area")) == pytest.approx(mm2, rel=0.01)
    assert page.inner_text("#warning") == WARNING
    # Of tissue, the view has what is up to its right edge.
    go(page, LEFT, TOP, 3)
    assert float(page.inner_text("#area")) == pytest.approx(HEIGHT * 350 / 1e6, rel=0.01)


def test_without_an_outline_they_are_per_area_of_the_image(page: Page, biopsy: Path) -> None:
    outline = biopsy / NAME / "tissue.geojson"
    content = outline.read_bytes()
    outline.unlink()
    page.reload()
    drawn(page)
    outline.write_bytes(content)
    assert page.inner_text("#per") == "the whole image (its tissue is not outlined)"
    assert float(page.inner_text("#area")) == SIDE**2 / 1e6
