"""What tests do with the page in a browser."""

from __future__ import annotations

from playwright.sync_api import Page

NAME = "a slide & more"
"""Of the result that can be shown."""

# What was drawn before the page has gone there does not count.
_GO = """place => {
    const hash = location.hash.split("/")[0] + place;
    if (hash === location.hash) return;
    return new Promise((gone) => {
        addEventListener("hashchange", () => {
            document.body.dataset.state = "";
            gone();
        }, { once: true });
        location.hash = hash;
    });
}"""


def drawn(page: Page) -> None:
    """Wait until all is drawn."""
    page.wait_for_selector("body[data-state=drawn]", state="attached")


def go(page: Page, x: float, y: float, zoom: float | str) -> None:
    """Look at a place, by its deep link; the zoom may be followed by settings."""
    page.evaluate(_GO, f"/{x}/{y}/{zoom}")
    drawn(page)


def press(page: Page, key: str) -> None:
    page.evaluate("document.body.dataset.state = ''")
    page.keyboard.press(key)
    drawn(page)


def set_slider(page: Page, name: str, value: int) -> None:
    """Set a slider of the settings, which are folded away."""
    page.evaluate("document.querySelector('#settings').open = true")
    page.locator(f"#{name}").fill(str(value))
