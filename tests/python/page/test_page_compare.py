"""The live view: speculation off and on, side by side, and once more slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.page_driver import why_not
from tests.python.support.page_stand_in import TEXT, WORDS, Script

if TYPE_CHECKING:
    from tests.python.support.page_driver import OpenView
    from tests.python.support.page_stand_in import StandIn

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def test_speculation_off_and_on_gives_the_same_text(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(has_chat_template=False)
    view = open_view()
    view.send("def add")
    view.wait_over()
    view.switch("speculation")
    assert view.page.input_value("#mode") == "autoregressive"
    view.page.press("#prompt", "Enter")
    view.wait_over("off")
    assert view.page.locator(".turn").count() == 1
    assert view.text("on") == view.text("off") == TEXT
    assert view.page.inner_text(".verdict").startswith("The texts are equal.")
    assert [sent["mode"] for sent in stand_in.requests] == ["auto", "autoregressive"]
    assert stand_in.requests[0] == {**stand_in.requests[1], "mode": "auto"}
    view.switch("speculation")
    assert view.page.input_value("#mode") == "auto"


def test_compare_runs_both_and_tells_the_speed_up(open_view: OpenView, stand_in: StandIn) -> None:
    view = open_view()
    view.set("seed", "")
    view.send("go", "Control+Enter")
    view.wait_over("on")
    view.wait_over("off")
    assert (
        view.page.inner_text(".verdict")
        == "The texts are equal. The speed with speculation is 2.00 times that without."
    )
    assert view.counter("speed-up").startswith("2.00")
    assert view.timeline["lanes"] == "target on,draft on,target off"
    assert stand_in.requests[0]["seed"] == stand_in.requests[1]["seed"]


def test_compare_after_a_run_adds_what_is_missing(open_view: OpenView, stand_in: StandIn) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.page.click("#compare")
    view.wait_over("off")
    assert [sent["mode"] for sent in stand_in.requests] == ["auto", "autoregressive"]
    assert stand_in.requests[0]["messages"] == stand_in.requests[1]["messages"]


def test_compare_says_where_texts_part(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(words=["a", "b", "c"], words_of_plain=["a", "b", "d"])
    view = open_view()
    view.send("go", "Control+Enter")
    view.wait_over("off")
    assert view.page.inner_text(".verdict").startswith("The texts diverge at character 3.")
    assert view.page.get_attribute(".verdict", "data-equal") == "false"


def test_after_a_replay_thoughts_are_not_sent_back(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(n_thoughts=1)
    view = open_view()
    view.send("go")
    view.wait_over()
    _, _, answer = view.text().partition("\n\n")
    view.page.get_by_role("button", name="Replay slowly").click()
    view.page.locator("#status").filter(has_text="replay").wait_for()
    view.page.keyboard.press("Escape")
    view.wait_idle()
    view.send("go on")
    view.wait_idle()
    assert stand_in.requests[-1]["messages"][1] == {"role": "assistant", "content": answer}


def test_replay_gives_the_same(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(words=list(WORDS))
    view = open_view()
    view.send("go", "Control+Enter")
    view.wait_over("off")
    view.wait_idle()
    before = (view.text("on"), view.text("off"), view.counter("tokens/s"), view.timeline)
    view.page.get_by_role("button", name="Replay slowly").click()
    view.page.locator("#status").filter(has_text="replay").wait_for()
    assert len(view.text("on")) < len(before[0])
    view.page.keyboard.press("Escape")
    view.wait_over("on")
    view.wait_idle()
    assert (view.text("on"), view.text("off"), view.counter("tokens/s"), view.timeline) == before
    assert len(stand_in.requests) == 2
