"""What tests do with the page in a browser."""

from __future__ import annotations

from playwright.sync_api import Page

NAME = "a slide & more"
"""Of the result that can be shown."""


def drawn(page: Page) -> None:
    """Wait until all is drawn."""
    page.wait_for_selector("body[data-state=drawn]", state="attached")


def go(page: Page, x: float, y: float, zoom: float) -> None:
    """Look at a place, by its deep link."""
    page.evaluate("document.body.dataset.state = ''")
    page.evaluate(f"location.hash = location.hash.split('/')[0] + '/{x}/{y}/{zoom}'")
    drawn(page)


def press(page: Page, key: str) -> None:
    page.evaluate("document.body.dataset.state = ''")
    page.keyboard.press(key)
    drawn(page)
