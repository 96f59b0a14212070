"""JSON without a mark is a call only if it is the whole answer; an answer may also show JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.call_formats import BOTH, FUNCTIONS, GET, TOOLS, form_of
from tests.python.support.scripted import make_engine, script
from tests.python.support.streamed_answers import read_in_pieces
from tests.python.support.tool_templates import SOURCES

from specbranch_cpp.openai_api.answers.tagged import AnswerRules

if TYPE_CHECKING:
    from pathlib import Path

# Templates: one that shows calls as objects without a mark, one without tools, and Llama's.
BARE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}assistant:"
)
TEMPLATES = {"bare": BARE, "described": SOURCES["none"].replace("tools", "others")}
LLAMA = SOURCES["llama"]
ONE = '{"name": "get", "arguments": {"city": "Rome"}}'
TWO = '{"name": "set", "arguments": {"n": 3, "on": true}}'
SIZES = pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
KINDS = pytest.mark.parametrize("kind", TEMPLATES)


def parsed(
    template: str, text: str, size: int, *, many: bool = True
) -> tuple[str, list[tuple[str, Any]]]:
    """Content and calls. The pieces of a stream must make the same message."""
    rules = AnswerRules(form_of(template), FUNCTIONS, many)
    thought, content, calls = read_in_pieces(rules, text, size)
    assert thought == ""
    return content, calls


@SIZES
@KINDS
@pytest.mark.parametrize(
    "text",
    [
        f"To call it, write {ONE}",
        f"To call it, write {ONE} and wait.",
        f"{ONE} is how you call it.",
        f"{ONE}\n\nThis gets the weather.",
        f"{ONE}; {TWO}\nThese are two calls.",
        f"An example:\n\n```json\n{ONE}\n```",
        f"An example:\n\n```json\n{ONE}\n```\n\nIt gets the weather.",
        f"```json\n{ONE}\n```\n\nThis gets the weather.",
        f"```\n{ONE}\n```\nor\n```\n{TWO}\n```",
        f"```python\ncall({ONE})\n```",
        f'{ONE}; {{"name": "fly", "arguments": {{}}}}',
        f'```json\n{ONE}\n{{"a": 1}}\n```',
    ],
)
def test_an_answer_that_only_shows_a_call_is_content(kind: str, text: str, size: int) -> None:
    for many in (True, False):
        assert parsed(TEMPLATES[kind], text, size, many=many) == (text, [])


@SIZES
@KINDS
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (ONE, [GET]),
        (f"\n\n {ONE}\n", [GET]),
        (f"{ONE}\n{TWO}", BOTH),
        (f"{ONE}; {TWO} ", BOTH),
        (f"```json\n{ONE}\n```", [GET]),
        (f"\n```\n{ONE}\n{TWO}\n```\n", BOTH),
        (f"```json\n[{ONE}, {TWO}]\n```", BOTH),
        (f"```json\n{ONE}\n", [GET]),
    ],
)
def test_an_answer_that_is_a_call_is_one(kind: str, text: str, calls: Any, size: int) -> None:
    assert parsed(TEMPLATES[kind], text, size) == ("", calls)
    assert parsed(TEMPLATES[kind], text, size, many=False) == ("", calls[:1])


@SIZES
def test_a_list_without_a_mark(size: int) -> None:
    assert parsed(BARE, f" [{ONE}, {TWO}]\n", size) == ("", BOTH)
    shown = f"[{ONE}, {TWO}] is a list"
    assert parsed(BARE, shown, size) == (shown, [])


@SIZES
def test_marks_of_a_format_are_calls_beside_text(size: int) -> None:
    text = f"I look it up.\n<tool_call>\n{ONE}\n</tool_call>"
    assert parsed(TEMPLATES["described"], text, size) == ("I look it up.", [GET])
    shown = f"```json\n{TWO}\n```\n<tool_call>\n{ONE}\n</tool_call>"
    assert parsed(TEMPLATES["described"], shown, size) == (f"```json\n{TWO}\n```", [GET])


@SIZES
def test_objects_of_llama_are_calls_at_the_beginning_but_not_in_examples(size: int) -> None:
    one = ONE.replace("arguments", "parameters")
    assert parsed(LLAMA, f"```json\n{one}\n```", size) == ("", [GET])
    assert parsed(LLAMA, f"{one}\nwait", size) == ("\nwait", [GET])
    for text in (f"So:\n```json\n{one}\n```", f"```\n{one}\n```\nis an example", f"Write {one}"):
        assert parsed(LLAMA, text, size) == (text, [])


@KINDS
def test_an_answer_that_is_cut(kind: str) -> None:
    """Complete calls before the cut count, in pieces of every size."""
    text = f"{ONE}; {TWO}"
    for cut in range(len(text)):
        reads = [parsed(TEMPLATES[kind], text[:cut], size) for size in (1, 4, 1000)]
        assert reads[0] == reads[1] == reads[2]
        assert reads[0][1] == BOTH[: len(reads[0][1])]
        assert len(reads[0][1]) == (cut >= len(ONE)), text[:cut]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get"}}])
@KINDS
def test_forced_calls_are_calls(tmp_path: Path, kind: str, choice: Any) -> None:
    with make_engine(tmp_path, TEMPLATES[kind]) as engine:
        names = set()
        for seed in range(4):
            asked: dict[str, Any] = {"tools": TOOLS, "tool_choice": choice, "seed": seed}
            answer: Any = engine.create_chat_completion(
                [{"role": "user", "content": "x"}], temperature=1.0, max_tokens=400, **asked
            )
            (one,) = answer["choices"]
            if one["finish_reason"] != "length":  # a long name of a city
                names |= {call["function"]["name"] for call in one["message"]["tool_calls"]}
    assert names
    assert choice == "required" or names == {"get"}


def test_an_engine_shows_and_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [{"role": "user", "content": "x"}]
    with make_engine(tmp_path, BARE) as engine:
        for text, reason in ((f"```json\n{ONE}\n```\nlike this", "stop"), (ONE, "tool_calls")):
            with monkeypatch.context() as patch:
                script(patch, engine, text)
                answer: Any = engine.create_chat_completion(messages, tools=TOOLS, max_tokens=200)
                (choice,) = answer["choices"]
                assert choice["finish_reason"] == reason
                assert choice["message"]["content"] == (text if reason == "stop" else None)
