#!/usr/bin/env python3
"""Draws the live view for the docs: serves a pair, types a prompt, takes pictures.

    tools/page_screenshot.py docs/images                                    # the bundled pair
    tools/page_screenshot.py docs/images -m target.gguf -md draft.gguf

writes ``live-view.png`` and ``live-view-dark.png``. Needs playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

PROMPT = "def read_lines(path):\n"
START_TIMEOUT_S = 60.0
RUN_TIMEOUT_S = 300.0
PICTURES: tuple[tuple[str, Literal["light", "dark"]], ...] = (
    ("live-view.png", "light"),
    ("live-view-dark.png", "dark"),
)


@contextmanager
def serving(port: int, models: list[str]) -> Iterator[str]:
    """A pair at a port of this machine."""
    command = [sys.executable, "-m", "specbranch_cpp", "serve", "--port", str(port), *models]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([*command, "--mode", "specbranch"]) as server:
        try:
            wait_for(url, server)
            yield url
        finally:
            server.terminate()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/health"):
                return
        except urllib.error.URLError:
            time.sleep(0.2)
    raise SystemExit(f"the server did not come up within {START_TIMEOUT_S:.0f} s")


def take(browser: Browser, url: str, path: Path, scheme: Literal["light", "dark"]) -> None:
    """The prompt with speculation and without, rolled-back tokens kept."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 1160}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(url)
    page.locator("#model").filter(has_text="context").wait_for()
    page.check("#keep")
    page.locator(".settings summary").click()
    page.fill("#temperature", "0.8")
    page.fill("#max-tokens", "80")
    page.locator(".settings summary").click()
    page.fill("#prompt", PROMPT)
    page.press("#prompt", "Control+Enter")
    page.locator(".verdict").wait_for(timeout=1000 * RUN_TIMEOUT_S)
    page.locator("#stop:disabled").wait_for()
    page.locator(".detail").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.locator(".detail").evaluate("one => one.blur()")
    page.locator("#conversation").evaluate("one => (one.scrollTop = 0)")
    page.screenshot(path=path, full_page=True)
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--port", type=int, default=8173)
    parser.add_argument("--model", "-m", help="target; default: the bundled pair")
    parser.add_argument("--model-draft", "-md", help="its draft")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    given = (("-m", args.model), ("-md", args.model_draft))
    models = [word for option, path in given if path for word in (option, path)]
    with serving(args.port, models) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, scheme in PICTURES:
            take(browser, url, args.folder / name, scheme)
        browser.close()


if __name__ == "__main__":
    main()
