"""A Chromium for the pages that people look at, and what tests ask of any page."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.waiting import WAIT_S

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # Containers seldom allow one; the pages are our own.
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WAIT_MS = 1_000 * WAIT_S
DESK, PHONE = 1280, 390
"""Widths in CSS pixels."""
SCRIPT = (Path(__file__).parent / "look.js").read_text("utf-8")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where a Chromium lies; skips where there is none."""
    found = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(CHROMIUMS)} is on the path")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for the tests of a file.

    Not for the whole run: Playwright keeps an event loop running in this thread while it is up, and
    `asyncio.run` of tests in other files would fail meanwhile.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=list(ARGUMENTS), timeout=WAIT_MS
        )
        expect.set_options(timeout=WAIT_MS)
        yield browser
        browser.close()


@dataclass
class Look:
    """A page in a tab of its own, with everything that it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def text(self) -> str:
        """What a reader sees, with plain spaces."""
        return " ".join(self.page.inner_text("body").replace("\u00a0", " ").split())

    def overflow_px(self) -> int:
        """By how much the page is wider than its window."""
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(wide))

    def pale_texts(self, ratio_min: float) -> list[str]:
        """Texts whose contrast with what lies behind them is lower than this."""
        found: list[str] = self.page.evaluate(f"{SCRIPT}; paleTexts({ratio_min})")
        return found

    def cut_labels(self) -> list[str]:
        """Labels of charts that leave their chart or run into another label."""
        found: list[str] = self.page.evaluate(f"{SCRIPT}; cutLabels()")
        return found

    def unnamed_charts(self) -> list[str]:
        """Pictures that screen readers can neither read out nor know to pass over."""
        found: list[str] = self.page.evaluate(f"{SCRIPT}; unnamedCharts()")
        return found

    def ground_lightness(self) -> float:
        """Relative luminance of the page's ground: 0 black, 1 white."""
        return float(self.page.evaluate(f"{SCRIPT}; groundLuminance()"))


def open_look(
    browser: Browser, url: str, *, width: int = DESK, scheme: str = "light", ready: str = "body"
) -> Look:
    """Open a page and wait until `ready` is there."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.set_default_timeout(WAIT_MS)
    look = Look(page)
    page.on(
        "console",
        lambda message: look.complaints.append(message.text) if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: look.complaints.append(str(error)))
    page.goto(url)
    # A script that broke draws nothing: what is waited for would not come within any time.
    assert not look.complaints, f"{url}: {look.complaints}"
    page.wait_for_selector(ready, state="attached")
    return look
