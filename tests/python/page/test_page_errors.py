"""The live view where the server refuses, breaks off, or asks for a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.page_driver import why_not
from tests.python.support.page_stand_in import ROUNDS, TEXT, WORDS, Script

if TYPE_CHECKING:
    from tests.python.support.page_driver import OpenView
    from tests.python.support.page_stand_in import StandIn

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def test_a_busy_server_is_asked_again_later(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(busy=1)
    view = open_view()
    view.send("go")
    view.wait_over(status="failed")
    problem = view.page.locator("#problem")
    assert "all places in the queue are taken. Wait 1 s." in problem.inner_text()
    problem.get_by_role("button", name="Try again", exact=True).click()
    view.wait_over()
    assert problem.is_hidden()
    assert view.text() == TEXT
    assert stand_in.requests[0] == stand_in.requests[1]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"break_after": 4}, "closed before the text was complete"),
        ({"fail_after": 4}, "The server reported an error: the forward pass failed"),
    ],
)
def test_what_had_come_is_kept(
    open_view: OpenView, stand_in: StandIn, fault: dict[str, int], words: str
) -> None:
    stand_in.script = Script(**fault)  # type: ignore[arg-type]
    view = open_view()
    view.send("go")
    view.wait_over(status="failed")
    assert words in view.page.inner_text("#problem")
    n_tokens = sum(n_accepted + 1 for n_accepted, _, _ in ROUNDS)
    assert view.text() == "".join(WORDS[:n_tokens])


def test_a_server_that_is_gone(open_view: OpenView) -> None:
    view = open_view()
    view.wait_connected()
    view.page.route("**/v1/**", lambda route: route.abort())
    view.send("go")
    view.wait_over(status="failed")
    assert "The server does not answer" in view.page.inner_text("#problem")


def test_a_key_is_asked_for_and_kept_in_the_tab_only(
    open_view: OpenView, stand_in: StandIn
) -> None:
    stand_in.script = Script(key="secret")
    view = open_view()
    view.page.locator("#key-dialog").wait_for()
    view.page.keyboard.type("secret")
    view.page.keyboard.press("Enter")
    view.send("go")
    view.wait_over()
    stored = view.page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]")
    assert "secret" in stored[0]
    assert "secret" not in stored[1]
