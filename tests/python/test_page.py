"""The live view in a real browser, against a stand-in for the server."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.python.page_driver import PHONE, LiveView, chromium, why_not
from tests.python.page_stand_in import PAGE, ROUNDS, WORDS, Script, StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

TEXT = "".join(WORDS) * 4


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


class OpenView(Protocol):
    def __call__(self, **options: Any) -> LiveView: ...


@pytest.fixture
def open_view(browser: Browser, server: StandIn) -> Iterator[OpenView]:
    """Opens the page; afterwards nothing may have been complained of or fetched from elsewhere."""
    views: list[LiveView] = []

    def make(**options: Any) -> LiveView:
        views.append(LiveView(browser, server.url, **options))
        return views[-1]

    yield make
    for view in views:
        view.close()
        assert view.foreign == []
        assert [words for words in view.complaints if "Failed to load resource" not in words] == []


def test_a_prompt_is_typed_and_tokens_arrive_one_after_another(
    open_view: OpenView, server: StandIn
) -> None:
    server.script = Script(delay_s=0.05)
    view = open_view()
    view.page.evaluate("""() => {
        window.seen = [];
        const count = () => document.querySelectorAll(".token[data-index]").length;
        new MutationObserver(() => window.seen.push(count()))
            .observe(document.querySelector("#conversation"), { childList: true, subtree: true });
    }""")
    view.send("Write add.")
    view.wait_over()
    seen: list[int] = view.page.evaluate("[...new Set(window.seen)]")
    assert len(seen) > 5
    assert all(a < b for a, b in pairwise(seen))
    assert view.text() == TEXT
    assert view.page.locator(".prompt").inner_text() == "Write add."
    sent = server.requests[0]
    assert sent["messages"] == [{"role": "user", "content": "Write add."}]
    assert sent["stream"] and sent["trace"] and sent["stream_options"] == {"include_usage": True}
    assert (sent["mode"], sent["seed"], sent["max_tokens"]) == ("auto", 1, 256)


def test_tokens_are_marked_by_origin_and_rolled_back_ones_fade(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    first = view.tokens().evaluate_all("all => all.slice(0, 7).map(one => one.className)")
    expected = []
    for n_accepted, hit, _ in ROUNDS[:2]:
        expected += ["token draft"] * n_accepted + ["token branch" if hit else "token target"]
    assert first == expected
    dropped = view.answer().locator("del.rolled")
    # The first round rolls one token back, before its fourth token.
    before = dropped.first.evaluate("one => one.previousElementSibling.dataset.index")
    assert (before, dropped.first.text_content()) == ("2", " oops")
    assert "line-through" in dropped.first.evaluate("one => getComputedStyle(one).textDecoration")
    view.answer().locator("del.rolled.gone").first.wait_for(state="attached")
    view.switch("keep")
    assert dropped.first.is_visible()


def test_shapes_tell_the_origin_without_colours(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.switch("colours")
    shapes = {
        origin: view.answer().locator(f".token.{origin}").first.evaluate(
            "one => { const s = getComputedStyle(one);"
            "return s.textDecorationLine + s.textDecorationStyle + s.backgroundColor; }"
        )
        for origin in ("target", "draft", "branch")
    }
    assert len(set(shapes.values())) == 3
    assert all(shape.endswith("rgba(0, 0, 0, 0)") for shape in shapes.values())


def test_keys_tell_a_tokens_origin_and_round(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.answer().locator(".text").focus()
    for _ in range(3):
        view.page.keyboard.press("ArrowRight")
    info = view.page.locator("#token-info")
    assert info.inner_text().startswith('token 3 "(a" · found on a side branch')
    assert "round 1" in info.inner_text()
    assert "2 of 3 accepted, branch hit, 1 rolled back" in info.inner_text()
    view.tokens().nth(0).hover()
    assert info.inner_text().startswith('token 1 "def" · guessed by the draft')


def test_the_timeline_has_both_lanes(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    drawn = view.timeline
    n_rounds = int(drawn["targetSpans"]) - 1
    assert drawn["lanes"] == "target,draft"
    assert n_rounds == view.answer().locator("del").count() * 4 // 3 or n_rounds > 10
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
    assert float(closer["end"]) - float(closer["begin"]) == pytest.approx(float(closer["total"]) / 2)
    keys.press("Home")
    info = view.page.locator(".span-info")
    keys.press("ArrowRight")
    assert info.inner_text().startswith("target: prefill 9, 3.90 ms from 0.10 ms")
    keys.press("ArrowRight")
    assert info.inner_text().startswith("target: verify 2/3, branch hit")
    keys.press("ArrowDown")
    assert info.inner_text().startswith("draft: draft 1 lane")
    for _ in range(2):
        keys.press("ArrowRight")
    assert info.inner_text().startswith("draft: draft 2 lanes (aborted)")


def test_the_timeline_as_a_table(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.page.get_by_role("button", name="All", exact=True).click()
    view.page.get_by_text("The same as a table").click()
    rows = view.page.locator(".table tbody tr")
    drawn = view.timeline
    assert rows.count() == int(drawn["targetSpans"]) + int(drawn["draftSpans"])
    assert rows.nth(0).locator("td").all_inner_texts() == ["target", "prefill 9", "0.10", "3.90"]


def test_speculation_off_and_on_gives_the_same_text(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(has_chat_template=False)
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
    assert [sent["mode"] for sent in server.requests] == ["auto", "autoregressive"]
    assert server.requests[0] == {**server.requests[1], "mode": "auto"}
    view.switch("speculation")
    assert view.page.input_value("#mode") == "auto"


def test_compare_runs_both_and_tells_the_speed_up(open_view: OpenView, server: StandIn) -> None:
    view = open_view()
    view.set("seed", "")
    view.send("go", "Control+Enter")
    view.wait_over("on")
    view.wait_over("off")
    assert view.page.inner_text(".verdict") == "The texts are equal. With speculation: 2.00 times as fast."
    assert view.counter("speed-up") == "2.00×"
    assert view.timeline["lanes"] == "target on,draft on,target off"
    assert server.requests[0]["seed"] == server.requests[1]["seed"]


def test_compare_after_a_run_adds_what_is_missing(open_view: OpenView, server: StandIn) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.page.click("#compare")
    view.wait_over("off")
    assert [sent["mode"] for sent in server.requests] == ["auto", "autoregressive"]
    assert server.requests[0]["messages"] == server.requests[1]["messages"]


def test_compare_says_where_texts_part(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(words=["a", "b", "c"], words_of_plain=["a", "b", "d"])
    view = open_view()
    view.send("go", "Control+Enter")
    view.wait_over("off")
    assert view.page.inner_text(".verdict").startswith("The texts part at character 3.")
    assert view.page.get_attribute(".verdict", "data-equal") == "false"


def test_counters(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    assert view.counter("speed-up") == "-"
    assert view.counter("tokens/s") == "2000"
    assert view.counter("tokens") == "52"
    assert view.counter("tokens per step") == "2.00"
    assert view.counter("rolled back") == "25 %"
    assert view.counter("target busy") == "90 %"
    assert view.counter("both busy") == "60 %"


def test_escape_stops_and_keeps_what_there_is(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(delay_s=0.05, words=list(WORDS) * 100)
    view = open_view()
    view.send("go")
    view.tokens().nth(8).wait_for()
    view.page.keyboard.press("Escape")
    view.wait_over(status="stopped")
    kept = view.text()
    assert kept and (TEXT * 25).startswith(kept)
    assert server.hung_up.wait(5)
    view.page.wait_for_timeout(200)
    assert view.text() == kept
    assert view.page.locator("#problem").is_hidden()


def test_several_turns_of_a_chat(open_view: OpenView, server: StandIn) -> None:
    view = open_view()
    for n, prompt in enumerate(("one", "two"), start=1):
        view.send(prompt)
        view.page.locator(".turn").nth(n - 1).wait_for()
        view.wait_over()
    assert server.requests[1]["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": TEXT},
        {"role": "user", "content": "two"},
    ]
    view.page.click("#new-chat")
    assert view.page.locator(".turn").count() == 0
    view.send("three")
    view.wait_over()
    assert len(server.requests[2]["messages"]) == 1


def test_shift_enter_breaks_the_line(open_view: OpenView, server: StandIn) -> None:
    view = open_view()
    view.wait_connected()
    view.page.fill("#prompt", "one")
    view.page.press("#prompt", "End")
    view.page.press("#prompt", "Shift+Enter")
    view.page.keyboard.type("two")
    view.page.press("#prompt", "Enter")
    view.wait_over()
    assert server.requests[0]["messages"][0]["content"] == "one\ntwo"


def test_no_chat_template_means_complete(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(has_chat_template=False)
    view = open_view()
    view.send("def add")
    view.wait_over()
    assert server.requests[0]["prompt"] == "def add"
    assert view.page.is_disabled("[value=chat]")


def test_no_draft_means_no_speculation(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(draft=False)
    view = open_view()
    view.send("go")
    view.wait_over("off")
    assert server.requests[0]["mode"] == "autoregressive"
    assert view.page.is_disabled("#speculation")
    assert view.timeline["lanes"] == "target"


def test_settings_are_sent_and_checked(open_view: OpenView, server: StandIn) -> None:
    view = open_view()
    wanted = {"mode": "pearl", "max-tokens": 7, "temperature": 0.25, "seed": 99, "k-max": 3}
    for name, value in wanted.items():
        view.set(name, value)
    view.send("go")
    view.wait_over()
    sent = server.requests[0]
    names = ("mode", "max_tokens", "temperature", "seed", "k_max")
    assert [sent[name] for name in names] == list(wanted.values())
    view.set("max-tokens", 0)
    view.send("again")
    assert view.page.evaluate("document.activeElement.id") == "max-tokens"
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again_later(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(busy=1)
    view = open_view()
    view.send("go")
    view.wait_over(status="failed")
    problem = view.page.locator("#problem")
    assert "all places in the queue are taken. It asks to wait 1 s." in problem.inner_text()
    problem.get_by_role("button", name="Try again", exact=True).click()
    view.wait_over()
    assert problem.is_hidden()
    assert view.text() == TEXT
    assert server.requests[0] == server.requests[1]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"break_after": 4}, "closed before the text was complete"),
        ({"fail_after": 4}, "The server failed: the forward pass failed"),
    ],
)
def test_what_had_come_is_kept(
    open_view: OpenView, server: StandIn, fault: dict[str, int], words: str
) -> None:
    server.script = Script(**fault)  # type: ignore[arg-type]
    view = open_view()
    view.send("go")
    view.wait_over(status="failed")
    assert words in view.page.inner_text("#problem")
    n_tokens = sum(n_accepted + 1 for n_accepted, _, _ in ROUNDS)
    assert view.text() == "".join(WORDS[:n_tokens])


def test_a_server_that_is_gone(open_view: OpenView, server: StandIn) -> None:
    view = open_view()
    view.wait_connected()
    view.page.route("**/v1/**", lambda route: route.abort())
    view.send("go")
    view.wait_over(status="failed")
    assert "The server does not answer" in view.page.inner_text("#problem")


def test_a_key_is_asked_for_and_kept_in_the_tab_only(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(key="secret")
    view = open_view()
    view.page.locator("#key-dialog").wait_for()
    view.page.keyboard.type("secret")
    view.page.keyboard.press("Enter")
    view.send("go")
    view.wait_over()
    stored = view.page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]")
    assert "secret" in stored[0]
    assert "secret" not in stored[1]


def test_markup_is_shown_as_text(open_view: OpenView, server: StandIn) -> None:
    evil = "<img src=x onerror='document.title=1'>"
    server.script = Script(words=[evil, "<b>", "&amp;"])
    view = open_view()
    view.send(evil)
    view.wait_over()
    assert view.text() == f"{evil}<b>&amp;"
    assert view.page.inner_text(".prompt") == evil
    assert view.page.locator("#conversation img, #conversation b").count() == 0


def test_all_of_it_by_keyboard(open_view: OpenView) -> None:
    view = open_view()
    view.wait_connected()
    view.page.locator(".settings summary").click()
    view.page.locator("#prompt").focus()
    reached = []
    for _ in range(40):
        view.page.keyboard.press("Tab")
        reached.append(view.page.evaluate("document.activeElement.id || document.activeElement.className"))
    for wanted in ("send", "compare", "speculation", "new-chat", "mode", "seed", "colours", "keep", "detail"):
        assert wanted in reached, (wanted, reached)
    assert reached.index("send") < reached.index("speculation") < reached.index("detail")
    view.page.keyboard.press("/")
    assert view.page.evaluate("document.activeElement.id") == "prompt"


def test_controls_have_names(open_view: OpenView) -> None:
    view = open_view()
    view.wait_connected()
    view.page.evaluate("document.querySelector('.settings').open = true")
    tree = view.page.locator("body").aria_snapshot()
    for words in ('textbox "Prompt"', 'switch "Speculation"', 'combobox "Mode"', 'spinbutton "Seed"'):
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
    if (!own || !element.checkVisibility() || element.closest(":disabled, .hidden, dialog")) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
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


def test_a_phone_scrolls_down_only(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(words=[*WORDS, "x" * 200])
    view = open_view(size=PHONE, has_touch=True)
    assert view.overflow == 0
    view.send("y" * 200, "Control+Enter")
    view.wait_over("off")
    view.wait_idle()
    view.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert view.overflow == 0


def test_a_window_without_room_is_survived(open_view: OpenView) -> None:
    view = open_view()
    view.send("go")
    view.wait_over()
    view.page.set_viewport_size({"width": 60, "height": 400})
    view.page.wait_for_timeout(100)
    view.page.set_viewport_size({"width": 1280, "height": 900})
    view.page.locator(".detail").press("0")
    assert float(view.timeline["end"]) == float(view.timeline["total"])


def test_replay_gives_the_same(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(words=list(WORDS))
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
    assert len(server.requests) == 2


def test_less_motion_where_that_is_wanted(open_view: OpenView) -> None:
    view = open_view(reduced_motion="reduce")
    view.send("go")
    view.wait_over()
    name = view.answer().locator("del").first.evaluate("one => getComputedStyle(one).animationName")
    assert name == "none"
    view.answer().locator("del.rolled.gone").first.wait_for(state="attached")


def test_thousands_of_tokens(open_view: OpenView, server: StandIn) -> None:
    server.script = Script(words=list(WORDS) * 316)
    view = open_view()
    view.send("go")
    view.wait_over()
    assert view.tokens().count() == 316 * len(WORDS)
    assert view.text() == "".join(WORDS) * 316
    view.page.get_by_role("button", name="All", exact=True).click()
    assert float(view.timeline["end"]) == float(view.timeline["total"])


def test_no_file_names_another_host() -> None:
    for path in PAGE.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path.name
        if path.suffix == ".js":
            assert len(text.splitlines()) < 250, path.name
            assert "innerHTML" not in text, path.name
