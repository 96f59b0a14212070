"""The live view: a row for each text of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.page_driver import PHONE, why_not
from tests.python.support.page_stand_in import Script, server_text, span, texts_reply

if TYPE_CHECKING:
    from playwright.sync_api import Locator
    from tests.python.support.page_driver import LiveView, OpenView
    from tests.python.support.page_stand_in import StandIn

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

TARGET = [span("target", "verify", 8000.0 + 100 * i, 8080.0 + 100 * i) for i in range(9)]
DRAFT = [span("draft", "draft", 8000.0 + 100 * i, 8040.0 + 100 * i) for i in range(5)]
SEVERAL = (
    server_text(3, "ended", n_decoded=41, spans=TARGET[:4]),
    server_text(4, "running", n_decoded=12, spans=TARGET + DRAFT),
    server_text(5, "prompt", mode="autoregressive", n_prompt_tokens=900, spans=TARGET[-1:]),
    server_text(6, "waiting"),
    server_text(7, "running", n_decoded=1, is_recorded=False),
)


def row(view: LiveView, number: int) -> Locator:
    return view.page.locator(f".text-row[data-id='{number}']")


def words(view: LiveView, number: int) -> list[str]:
    return row(view, number).locator("span").all_inner_texts()


def colours(view: LiveView, number: int) -> list[int]:
    """The number of colours in the upper and in the lower track of a text."""
    canvas = row(view, number).locator("canvas")
    found: list[int] = canvas.evaluate("""canvas => {
        const { width, height } = canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
        const pixels = new Uint32Array(data.buffer);
        return [7, 18].map((y) => {
            const begin = Math.round((y * height) / canvas.clientHeight) * width;
            return new Set(pixels.slice(begin, begin + width).filter((pixel) => pixel)).size;
        });
    }""")
    return found


def wait_for_a_look(view: LiveView, stand_in: StandIn) -> None:
    """Until the page has asked once more, and has had its answer."""
    n_looks = len(stand_in.looks)
    for _ in range(400):
        view.page.wait_for_timeout(50)
        if len(stand_in.looks) > n_looks + 1:
            return
    raise AssertionError("the page asks no more")


def test_each_text_has_a_row(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(timelines=texts_reply(*SEVERAL, n_more=3, n_waiting=2))
    view = open_view()
    row(view, 7).wait_for()
    rows = view.page.locator(".text-row")
    shown = rows.evaluate_all("all => all.map((one) => [one.dataset.id, one.dataset.state])")
    assert shown == [
        ["3", "ended"], ["4", "running"], ["5", "prompt"], ["6", "waiting"], ["7", "running"],
    ]  # fmt: skip
    assert words(view, 3) == ["text 3 · slot 3 · auto", "ended (stop), 41 tokens"]
    assert words(view, 4) == ["text 4 · slot 4 · auto", "12 tokens"]
    assert words(view, 5) == [
        "text 5 · slot 5 · autoregressive", "reads the prompt, 9 of 900 tokens",
    ]  # fmt: skip
    assert words(view, 6) == ["text 6 · auto", "waits for a slot"]
    assert words(view, 7)[1] == "1 token, not recorded: it began before this page"
    note = view.page.locator("#texts .hint").inner_text()
    assert note == "the last 5 s · 3 more without a row · 2 requests wait"
    assert row(view, 4).get_attribute("data-target-spans") == "9"
    assert row(view, 4).get_attribute("data-draft-spans") == "5"


def test_the_tracks_show_what_each_model_did(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(timelines=texts_reply(*SEVERAL))
    view = open_view()
    row(view, 7).wait_for()
    upper, lower = colours(view, 4)
    assert upper >= 2  # bars, and the bubbles between them
    assert lower >= 2
    assert colours(view, 3)[1] == 0  # no draft
    assert colours(view, 6) == [0, 0]  # nothing yet


def test_only_what_is_new_is_asked_for(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(timelines=texts_reply(server_text(4, "running", spans=TARGET[:6])))
    view = open_view()
    row(view, 4).wait_for()
    more = server_text(4, "running", spans=TARGET + DRAFT)
    stand_in.script = Script(timelines=texts_reply(more, now_ms=9500.0))
    view.page.locator(".text-row[data-draft-spans='5']").wait_for()
    wait_for_a_look(view, stand_in)
    assert row(view, 4).get_attribute("data-target-spans") == "9"
    assert stand_in.looks[0] == "seen="
    assert stand_in.looks[1] == "seen=4:6"
    assert stand_in.looks[-1] == "seen=4:14"


def test_old_commands_and_texts_that_are_gone_leave(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(timelines=texts_reply(*SEVERAL))
    view = open_view()
    row(view, 3).wait_for()
    later = texts_reply(server_text(4, "running", n_spans=14), now_ms=18400.0)
    stand_in.script = Script(timelines=later)
    row(view, 3).wait_for(state="detached")
    assert view.page.locator(".text-row").count() == 1
    # Of the bars, those of the last ten seconds are kept.
    assert row(view, 4).get_attribute("data-target-spans") == "5"
    assert row(view, 4).get_attribute("data-draft-spans") == "1"
    stand_in.script = Script(timelines=texts_reply(now_ms=18900.0))
    row(view, 4).wait_for(state="detached")
    assert view.page.locator("#texts .hint").inner_text() == "no text runs"


def test_the_texts_of_another_server_have_other_numbers(
    open_view: OpenView, stand_in: StandIn
) -> None:
    stand_in.script = Script(timelines=texts_reply(*SEVERAL))
    view = open_view()
    row(view, 4).wait_for()
    fresh = [span("target", "verify", 100.0, 110.0)]
    text = server_text(4, "running", n_decoded=2, spans=fresh)
    stand_in.script = Script(timelines=texts_reply(text, now_ms=200.0))
    new = ".text-row[data-id='4'][data-target-spans='1'][data-draft-spans='0']"
    view.page.locator(new).wait_for()
    assert words(view, 4) == ["text 4 · slot 4 · auto", "2 tokens"]
    assert view.page.locator(".text-row").count() == 1


def test_a_server_without_slots(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(timelines=None)
    view = open_view()
    view.wait_connected()
    view.send("go")
    view.wait_over()
    view.page.wait_for_timeout(700)
    assert view.page.locator("#texts").is_hidden()
    assert len(stand_in.looks) == 1


def test_who_does_not_see_the_rows_does_not_ask(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(timelines=texts_reply(*SEVERAL))
    view = open_view()
    row(view, 4).wait_for()
    view.page.locator("#texts summary").click()
    n_looks = len(stand_in.looks)
    view.page.wait_for_timeout(1200)
    assert len(stand_in.looks) <= n_looks + 1  # which was on its way
    view.page.locator("#texts summary").click()
    row(view, 4).wait_for()
    wait_for_a_look(view, stand_in)


def test_the_shown_time_is_chosen(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(timelines=texts_reply(*SEVERAL))
    view = open_view(size=PHONE)
    row(view, 4).wait_for()
    note = view.page.locator("#texts .hint")
    for _ in range(5):
        view.page.get_by_role("button", name="Shorter", exact=True).click()
    assert note.inner_text() == "the last 1 s"
    for _ in range(5):
        view.page.get_by_role("button", name="Longer", exact=True).click()
    assert note.inner_text() == "the last 10 s"
    assert view.overflow <= 0
