"""The live view: the timeline of both models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.page_driver import why_not
from tests.python.support.page_stand_in import WORDS, speculation

if TYPE_CHECKING:
    from tests.python.support.page_driver import OpenView

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def test_the_timeline_has_both_tracks(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    drawn = view.timeline
    n_rounds = len(list(speculation(list(WORDS) * 4, plain=False)))
    assert drawn["lanes"] == "target,draft"
    assert int(drawn["targetSpans"]) == n_rounds + 1
    assert int(drawn["draftSpans"]) == 3 * n_rounds + 1
    painted = view.page.evaluate("""() => {
        const canvas = document.querySelector(".detail");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    }""")
    assert painted > 3


def test_the_timeline_by_keyboard(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    keys = view.page.keyboard
    view.page.locator(".detail").focus()
    keys.press("0")
    assert float(view.timeline["begin"]) == 0
    assert float(view.timeline["end"]) == float(view.timeline["total"])
    keys.press("+")
    closer = view.timeline
    assert float(closer["end"]) - float(closer["begin"]) == pytest.approx(
        float(closer["total"]) / 2
    )
    keys.press("Home")
    info = view.page.locator(".span-info")
    keys.press("ArrowRight")
    assert info.inner_text().startswith("target: prefill 9, 3.90 ms from 0.10 ms")
    keys.press("ArrowRight")
    assert info.inner_text().startswith("target: verify 2/3, branch hit")
    keys.press("ArrowDown")
    assert info.inner_text().startswith("draft: draft 1 branch")
    for _ in range(2):
        keys.press("ArrowRight")
    assert info.inner_text().startswith("draft: draft 2 branches (aborted)")


def test_the_timeline_as_a_table(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.page.get_by_role("button", name="All", exact=True).click()
    view.page.get_by_text("Timeline as a table").click()
    rows = view.page.locator(".table tbody tr")
    rows.first.wait_for()
    drawn = view.timeline
    assert rows.count() == int(drawn["targetSpans"]) + int(drawn["draftSpans"])
    assert rows.nth(0).locator("td").all_inner_texts() == ["target", "prefill 9", "0.10", "3.90"]


def test_a_window_without_room_is_survived(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.page.set_viewport_size({"width": 60, "height": 400})
    view.page.wait_for_timeout(100)
    view.page.set_viewport_size({"width": 1280, "height": 900})
    view.page.locator(".detail").press("0")
    assert float(view.timeline["end"]) == float(view.timeline["total"])
