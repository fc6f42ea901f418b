"""A page in a real browser: Debian's Chromium, or the one that Playwright knows."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def browser():
    """A browser of its own; the test is skipped, with the reason, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield launched
        launched.close()


class Watched:
    """A page that was opened, with what it said and asked for."""

    def __init__(self, browser, path, *, width=1000, dark=False):
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
        )
        self.page = self.context.new_page()
        self.faults, self.requests = [], []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def shown(self):
        """The answers for another compute: name -> value and interval."""
        boxes = self.page.query_selector_all("#what-if-answer > div")
        return {lines[0]: lines[1:] for lines in (box.inner_text().split("\n") for box in boxes)}
