"""The live view in a headless Chromium, for tests and for the picture in the docs."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request

Way = Literal["on", "off"]
Scheme = Literal["light", "dark"]
DESKTOP = (1280, 900)
PHONE = (360, 740)
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
TIMEOUT_MS = 120_000
"""For what never happens. A busy machine must not reach it."""


def why_not() -> str | None:
    """Why there is no browser to drive; None if there is."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return None if CHROMIUM else "there is no Chromium on the PATH"


@contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox it runs as root too, in containers; it sees our own page only.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=TIMEOUT_MS
        )
        try:
            yield browser
        finally:
            browser.close()


class LiveView:
    """The page, opened at the address of a server."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        size: tuple[int, int] = DESKTOP,
        scheme: Scheme = "light",
        **options: Any,
    ) -> None:
        self.url = url
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, **options
        )
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._on_request)
        self.page.goto(url)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.foreign.append(request.url)

    def close(self) -> None:
        self.context.close()

    def wait_connected(self) -> None:
        self.page.locator("#model").filter(has_not_text=re.compile("connect")).wait_for()

    def send(self, prompt: str, key: str = "Enter") -> None:
        """Types a prompt and sends it with a key."""
        self.wait_connected()
        self.page.fill("#prompt", prompt)
        self.page.press("#prompt", key)

    def set(self, name: str, value: object) -> None:
        """Sets a field of the settings by its id."""
        self.page.evaluate("document.querySelector('.settings').open = true")
        field = self.page.locator(f"#{name}")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(str(value))
        else:
            field.fill(str(value))

    def switch(self, name: str) -> None:
        """Presses the space bar on a switch, by its id."""
        self.page.press(f"#{name}", " ")

    def answer(self, way: Way = "on") -> Locator:
        return self.page.locator(f".turn:last-of-type .answer[data-variant={way}]")

    def tokens(self, way: Way = "on") -> Locator:
        return self.answer(way).locator(".token")

    def text(self, way: Way = "on") -> str:
        """The text of the tokens, without what was rolled back."""
        return "".join(self.tokens(way).all_text_contents())

    def wait_over(self, way: Way = "on", status: str = "done") -> None:
        self.answer(way).and_(self.page.locator(f"[data-status={status}]")).wait_for()

    def wait_idle(self) -> None:
        self.page.locator("#stop:disabled").wait_for()

    def counter(self, name: str) -> str:
        return self.page.locator(f"[data-counter='{name}'] .value").inner_text()

    @property
    def timeline(self) -> dict[str, str]:
        """What the timeline shows, by the attributes of its canvas."""
        data: dict[str, str] = self.page.evaluate(
            "({...document.querySelector('.detail').dataset})"
        )
        return data

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than the screen."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return width


class OpenView(Protocol):
    """Opens the page of the stand-in; options as of `LiveView`."""

    def __call__(self, **options: Any) -> LiveView: ...
