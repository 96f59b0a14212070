"""The live view for everybody: keyboard, contrast, dark, phones, less motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.page_driver import PHONE, why_not
from tests.python.support.page_stand_in import WORDS, Script

if TYPE_CHECKING:
    from tests.python.support.page_driver import OpenView
    from tests.python.support.page_stand_in import StandIn

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


FOCUSED = "document.activeElement.id || document.activeElement.className"


def test_all_of_it_by_keyboard(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.page.locator(".settings summary").click()
    view.page.locator("#prompt").focus()
    reached = []
    for _ in range(40):
        view.page.keyboard.press("Tab")
        reached.append(view.page.evaluate(FOCUSED))
    assert {"send", "compare", "speculation", "new-chat", "mode", "seed"} <= set(reached)
    assert {"colours", "keep", "detail"} <= set(reached)
    assert reached.index("send") < reached.index("speculation") < reached.index("detail")
    view.page.locator("#send").focus()  # in a field the key is a character
    view.page.keyboard.press("/")
    assert view.page.evaluate("document.activeElement.id") == "prompt"


def test_controls_have_names(open_view: OpenView) -> None:
    view = open_view()
    view.wait_connected()
    view.page.evaluate("document.querySelector('.settings').open = true")
    tree = view.page.locator("body").aria_snapshot()
    for words in (
        'textbox "Prompt"',
        'switch "Speculation"',
        'combobox "Mode"',
        'spinbutton "Seed"',
    ):
        assert words in tree


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(open_view: OpenView, scheme: str) -> None:
    """Every text that is seen differs from what is behind it by 4.5:1 at least."""
    view = open_view(scheme=scheme)
    view.send("go", "Control+Enter")
    view.wait_over("off")
    view.wait_idle()
    view.page.evaluate("document.querySelector('.settings').open = true")
    view.switch("keep")
    poor = view.page.evaluate(CONTRAST)
    assert poor == []


CONTRAST = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colours) => {  // what a stack of colours looks like, the lowest first
    context.fillStyle = "white";
    context.fillRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  let seen = 0;
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility()) continue;
    if (element.closest(":disabled, .hidden, dialog")) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) {
      behind.unshift(getComputedStyle(at).backgroundColor);
    }
    const a = luminance(over(behind));
    const b = luminance(over([...behind, getComputedStyle(element).color]));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    seen += 1;
    if (ratio < 4.5) poor.push(`${element.className || element.tagName} ${ratio.toFixed(2)}`);
  }
  return seen > 50 ? poor : ["nothing was measured"];
}"""


def test_the_theme_can_be_chosen(open_view: OpenView) -> None:
    view = open_view(scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = view.page.evaluate(background)
    view.page.click("#theme")
    assert view.page.inner_text("#theme") == "Theme: light"
    assert view.page.evaluate(background) != dark
    view.page.reload()
    assert view.page.inner_text("#theme") == "Theme: light"
    view.page.click("#theme")
    assert view.page.evaluate(background) == dark


def test_a_phone_scrolls_down_only(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(words=[*WORDS, "x" * 200])
    view = open_view(size=PHONE, has_touch=True)
    assert view.overflow == 0
    view.send("y" * 200, "Control+Enter")
    view.wait_over("off")
    view.wait_idle()
    view.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert view.overflow == 0


def test_less_motion_where_that_is_wanted(open_view: OpenView) -> None:
    view = open_view(reduced_motion="reduce")
    view.send("go")
    view.wait_over()
    name = view.answer().locator("del").first.evaluate("one => getComputedStyle(one).animationName")
    assert name == "none"
    view.answer().locator("del.rolled.gone").first.wait_for(state="attached")
