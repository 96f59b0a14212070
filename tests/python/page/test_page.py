"""The live view in a real browser, against a stand-in for the server: texts and runs."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.python.support.page_driver import PHONE, why_not
from tests.python.support.page_stand_in import PAGE, ROUNDS, TEXT, WORDS, Script

if TYPE_CHECKING:
    from tests.python.support.page_driver import OpenView
    from tests.python.support.page_stand_in import StandIn

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def test_a_prompt_is_typed_and_tokens_arrive_one_after_another(
    open_view: OpenView, stand_in: StandIn
) -> None:
    stand_in.script = Script(delay_s=0.1)
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
    sent = stand_in.requests[0]
    assert sent["messages"] == [{"role": "user", "content": "Write add."}]
    assert sent["stream"]
    assert sent["trace"]
    assert sent["stream_options"] == {"include_usage": True}
    assert (sent["mode"], sent["seed"], sent["max_tokens"]) == ("auto", 1, 256)


def test_thoughts_come_before_the_answer_and_are_not_sent_back(
    open_view: OpenView, stand_in: StandIn
) -> None:
    stand_in.script = Script(n_thoughts=1)
    view = open_view()
    view.send("go")
    view.wait_over()
    thought, _, answer = view.text().partition("\n\n")
    assert thought
    assert thought + answer == TEXT
    view.send("go on")
    view.wait_over()
    assert stand_in.requests[-1]["messages"][1] == {"role": "assistant", "content": answer}


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
        origin: view.answer()
        .locator(f".token.{origin}")
        .first.evaluate(
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
    assert info.inner_text().startswith(
        'token 3 "(a" · chosen by the target, drafted on a side branch'
    )
    assert "round 1" in info.inner_text()
    assert "2 of 3 accepted, branch hit, 1 rolled back" in info.inner_text()
    view.tokens().nth(0).hover()
    assert info.inner_text().startswith('token 1 "def" · drafted, accepted by the target')


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


def test_escape_stops_and_keeps_what_there_is(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(delay_s=0.05, words=list(WORDS) * 100)
    view = open_view()
    view.send("go")
    view.tokens().nth(8).wait_for()
    view.page.keyboard.press("Escape")
    view.wait_over(status="stopped")
    kept = view.text()
    assert kept
    assert (TEXT * 25).startswith(kept)
    assert stand_in.hung_up.wait(120)
    view.page.wait_for_timeout(200)
    assert view.text() == kept
    assert view.page.locator("#problem").is_hidden()


def test_several_turns_of_a_chat(open_view: OpenView, stand_in: StandIn) -> None:
    view = open_view()
    for n, prompt in enumerate(("one", "two"), start=1):
        view.send(prompt)
        view.page.locator(".turn").nth(n - 1).wait_for()
        view.wait_over()
    assert stand_in.requests[1]["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": TEXT},
        {"role": "user", "content": "two"},
    ]
    view.page.click("#new-chat")
    assert view.page.locator(".turn").count() == 0
    view.send("three")
    view.wait_over()
    assert len(stand_in.requests[2]["messages"]) == 1


def test_shift_enter_breaks_the_line(open_view: OpenView, stand_in: StandIn) -> None:
    view = open_view()
    view.wait_connected()
    view.page.fill("#prompt", "one")
    view.page.press("#prompt", "End")
    view.page.press("#prompt", "Shift+Enter")
    view.page.keyboard.type("two")
    view.page.press("#prompt", "Enter")
    view.wait_over()
    assert stand_in.requests[0]["messages"][0]["content"] == "one\ntwo"


def test_a_page_of_many_turns_ends_where_its_content_does(open_view: OpenView) -> None:
    view = open_view(size=PHONE)
    for _ in range(8):
        view.send("go")
        view.wait_over()
    below: float = view.page.evaluate(
        "() => document.documentElement.scrollHeight"
        " - document.querySelector('main').getBoundingClientRect().bottom - scrollY"
    )
    assert below < 100


def test_no_chat_template_means_complete(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(has_chat_template=False)
    view = open_view()
    view.send("def add")
    view.wait_over()
    assert stand_in.requests[0]["prompt"] == "def add"
    assert view.page.is_disabled("[value=chat]")
    assert view.page.inner_text("#model").endswith("no chat template")


def test_no_draft_means_no_speculation(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(draft=False)
    view = open_view()
    view.send("go")
    view.wait_over("off")
    assert stand_in.requests[0]["mode"] == "autoregressive"
    assert view.page.is_disabled("#speculation")
    assert view.timeline["lanes"] == "target"


def test_settings_are_sent_and_checked(open_view: OpenView, stand_in: StandIn) -> None:
    view = open_view()
    wanted = {"mode": "pearl", "max-tokens": 7, "temperature": 0.25, "seed": 99, "max-branches": 3}
    for name, value in wanted.items():
        view.set(name, value)
    view.send("go")
    view.wait_over()
    sent = stand_in.requests[0]
    names = ("mode", "max_tokens", "temperature", "seed", "max_branches")
    assert [sent[name] for name in names] == list(wanted.values())
    view.set("max-tokens", 0)
    view.send("again")
    assert view.page.evaluate("document.activeElement.id") == "max-tokens"
    assert len(stand_in.requests) == 1


def test_what_is_chosen_before_the_server_answers_stays(
    open_view: OpenView, stand_in: StandIn
) -> None:
    stand_in.script = Script(connect_s=3.0)
    view = open_view()
    view.set("mode", "pearl")
    assert "connect" in view.page.locator("#model").inner_text()
    view.send("go")
    view.wait_over()
    assert stand_in.requests[0]["mode"] == "pearl"


def test_markup_is_shown_as_text(open_view: OpenView, stand_in: StandIn) -> None:
    evil = "<img src=x onerror='document.title=1'>"
    stand_in.script = Script(words=[evil, "<b>", "&amp;"])
    view = open_view()
    view.send(evil)
    view.wait_over()
    assert view.text() == f"{evil}<b>&amp;"
    assert view.page.inner_text(".prompt") == evil
    assert view.page.locator("#conversation img, #conversation b").count() == 0


def test_thousands_of_tokens(open_view: OpenView, stand_in: StandIn) -> None:
    stand_in.script = Script(words=list(WORDS) * 316)
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
