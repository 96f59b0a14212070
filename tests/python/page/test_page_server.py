"""The live view on the real server with the bundled pair, in a real browser."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.python.support.page_driver import LiveView, why_not
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine

pytest.importorskip("fastapi")

from tests.python.support.server_support import Running, serving, wait_until

from specbranch_cpp.server import timelines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser
    from tests.python.conftest import MakeFake

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

PROMPT = "def fibonacci(n):\n"
KEY = "a-key-of-this-test"


@pytest.fixture(scope="module")
def engine(pair: tuple[Path, Path]) -> Iterator[Engine]:
    with Engine(*pair, n_ctx=4096, mode="specbranch") as engine:
        yield engine


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[Running]:
    with serving(engine) as server:
        yield server


@pytest.fixture
def view(browser: Browser, server: Running) -> Iterator[LiveView]:
    view = LiveView(browser, server.url)
    yield view
    view.close()
    assert view.complaints == []
    assert view.foreign == []


def test_the_page_may_load_nothing_from_elsewhere(server: Running) -> None:
    for path in ("/", "/page/app.js", "/page/style.css"):
        answer = server.client.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_a_prompt_is_typed_and_tokens_arrive(view: LiveView) -> None:
    view.wait_connected()
    view.set("max-tokens", 400)
    view.page.evaluate("""() => {
        window.seen = [];
        const count = () => document.querySelectorAll(".token[data-index]").length;
        new MutationObserver(() => window.seen.push(count()))
            .observe(document.querySelector("#conversation"), { childList: true, subtree: true });
    }""")
    view.page.focus("#prompt")
    view.page.keyboard.type(PROMPT.rstrip())
    view.page.keyboard.press("Enter")
    view.wait_over()
    seen: list[int] = view.page.evaluate("[...new Set(window.seen)]")
    assert len(seen) > 3
    assert all(a < b for a, b in pairwise(seen))
    assert view.tokens().count() == int(view.counter("tokens")) == 400
    for origin in ("target", "draft", "branch"):
        assert view.answer().locator(f".token.{origin}").count() > 0
    assert view.answer().locator("del.rolled").count() > 0


def test_the_timeline_shows_both_models(view: LiveView) -> None:
    view.send(PROMPT)
    view.wait_over()
    drawn = view.timeline
    assert drawn["lanes"] == "target,draft"
    assert min(int(drawn["targetSpans"]), int(drawn["draftSpans"])) > 20
    view.page.get_by_text("Timeline as a table").click()
    view.page.get_by_role("button", name="All", exact=True).click()
    commands = " ".join(view.page.locator(".table td:nth-child(2)").all_inner_texts())
    assert "prefill" in commands
    assert "draft 1 branch" in commands


def test_the_text_is_the_same_with_speculation_off_and_on(view: LiveView) -> None:
    view.send(PROMPT)
    view.wait_over("on")
    view.switch("speculation")
    view.page.press("#prompt", "Enter")
    view.wait_over("off")
    view.wait_idle()
    assert view.text("on") == view.text("off") != ""
    assert view.page.inner_text(".verdict").startswith("The texts are equal.")
    assert view.counter("speed-up") != "-"
    view.switch("speculation")
    view.page.press("#prompt", "Enter")
    view.wait_over("on")
    view.wait_idle()
    assert view.page.locator(".turn").count() == 1
    assert view.text("on") == view.text("off")


def test_compare_says_that_the_texts_are_equal(view: LiveView) -> None:
    view.set("temperature", 1)
    view.set("seed", 7)
    view.send(PROMPT, "Control+Enter")
    view.wait_over("on")
    view.wait_over("off")
    view.wait_idle()
    assert view.page.get_attribute(".verdict", "data-equal") == "true"
    assert view.text("on") == view.text("off") != ""


def test_escape_ends_the_work_of_the_server(browser: Browser, make_fake: MakeFake) -> None:
    engine = make_fake(step_us=50_000, n_ctx=10_000)
    with serving(engine) as server:
        view = LiveView(browser, server.url)
        try:
            view.set("max-tokens", 8000)
            view.send("abc")
            view.tokens().nth(5).wait_for()
            view.page.keyboard.press("Escape")
            view.wait_over(status="stopped")
            wait_until(lambda: engine.stats.n_generations == 1)
            assert 0 < engine.stats.n_generated < 8000
            wait_until(lambda: not server.client.get("/health").json()["requests_processing"])
        finally:
            view.close()
        assert view.complaints == []


@pytest.fixture
def slow_pair(tmp_path: Path) -> tuple[Path, Path]:
    """Wide and deep enough that a long text takes minutes."""

    def write(name: str, n_layer: int) -> Path:
        return write_tiny_gguf(
            tmp_path / name, weight_type="Q8_0", n_embd=512, n_head=8, n_ff=1024, n_layer=n_layer
        )

    return write("target.gguf", 12), write("draft.gguf", 4)


def test_every_text_of_the_server_has_a_row(
    browser: Browser, slow_pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of other clients, too, while they run and for a moment afterwards."""
    monkeypatch.setattr(timelines, "LINGER_S", 600.0)
    modes = ("speculative", "autoregressive", "auto")
    body = {"prompt": PROMPT, "ignore_eos": True, "stream": True, "max_tokens": 8000}
    with (
        Engine(*slow_pair, n_ctx=8192, n_parallel=3, measure_costs=False) as engine,
        serving(engine) as server,
        contextlib.ExitStack() as streams,
    ):
        view = LiveView(browser, server.url)
        try:
            view.page.locator("#texts .hint").filter(has_text="no text runs").wait_for()
            lines = []  # whose end would end the streams
            for mode in modes:
                request = {**body, "mode": mode}
                stream = server.client.stream("POST", "/v1/completions", json=request)
                lines.append(streams.enter_context(stream).iter_lines())
                next(lines[-1])
            waiting = engine.generate("y", max_tokens=2)
            rows = view.page.locator(".text-row")
            row = [view.page.locator(f".text-row[data-id='{number}']") for number in range(4)]
            row[3].wait_for()
            assert rows.count() == 4
            assert [row[i].get_attribute("data-state") for i in range(4)] == [
                "running", "running", "running", "waiting",
            ]  # fmt: skip
            for number, mode in enumerate(modes):
                assert mode in row[number].locator(".text-name").inner_text()
                row[number].locator(".text-state").filter(has_text="tokens").wait_for()
                assert int(str(row[number].get_attribute("data-target-spans"))) > 0
            assert int(str(row[0].get_attribute("data-draft-spans"))) > 0
            assert row[1].get_attribute("data-draft-spans") == "0"
            streams.close()  # the clients leave
            waiting.result()
            view.page.locator(".text-row[data-state='ended']").nth(3).wait_for()
            assert "cancelled" in row[0].locator(".text-state").inner_text()
            monkeypatch.setattr(timelines, "LINGER_S", 0.0)
            rows.first.wait_for(state="detached")
        finally:
            view.close()
        assert view.complaints == []


def test_an_error_of_the_server_is_shown_in_words(view: LiveView) -> None:
    view.send("x = 1; " * 3000)
    view.wait_over(status="failed")
    assert view.page.inner_text("#problem").startswith("The server refused the request: ")
    view.complaints.clear()  # the browser notes the 400


def test_a_key_is_asked_for(engine: Engine, browser: Browser) -> None:
    with serving(engine, api_keys=(KEY,)) as server:
        view = LiveView(browser, server.url)
        try:
            view.page.locator("#key-dialog").wait_for()
            view.page.keyboard.type(KEY)
            view.page.keyboard.press("Enter")
            view.send(PROMPT)
            view.wait_over()
            assert view.text() != ""
        finally:
            view.close()
