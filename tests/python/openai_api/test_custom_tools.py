"""Tools of the type ``custom``: the model sees a function, and the caller gets a text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.call_formats import TOOLS
from tests.python.support.scripted import make_engine, script, template_with

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp.openai_api.keywords import PromptKeywords
from specbranch_cpp.openai_api.tool_calls.custom_tools import input_of
from specbranch_cpp.openai_api.tool_calls.declarations import Tools, tools_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKS = ("<tool_call>", "</tool_call>")
TEMPLATE = template_with(MARKS)
HELLO = [{"role": "user", "content": "hello"}]
PATCH = {"type": "custom", "custom": {"name": "patch", "description": "Edits a file."}}
FUNCTION = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}
TEXT = '*** "a"\n\\n ä'
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with make_engine(tmp_path_factory.mktemp("model"), TEMPLATE, MARKS) as engine:
        yield engine


def written(name: str, arguments: Any) -> str:
    """A call as the model writes it."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>{call}</tool_call>"


def calls_of(engine: Engine, *, stream: bool, **more: Any) -> tuple[list[Any], str]:
    """The calls of an answer, and why it ended."""
    asked: dict[str, Any] = {"tools": [FUNCTION, PATCH], **more}
    if not stream:
        answer: Any = engine.create_chat_completion(HELLO, **asked)
        (choice,) = answer["choices"]
        return choice["message"].get("tool_calls", []), choice["finish_reason"]
    made: list[Any] = []
    chunks: Any = engine.create_chat_completion(HELLO, stream=True, **asked)
    for chunk in chunks:
        (choice,) = chunk["choices"]
        for delta in choice["delta"].get("tool_calls", ()):
            if "id" in delta:
                assert delta["index"] == len(made)
                made.append({name: delta[name] for name in ("id", "type", delta["type"])})
                continue
            (kind,) = set(delta) - {"index"}
            called = made[delta["index"]][kind]
            (field,) = delta[kind]
            called[field] += delta[kind][field]
    return made, choice["finish_reason"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_has_the_text(engine: Engine, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    text = written("get", {"a": 1}) + written("patch", {"input": TEXT})
    script(monkeypatch, engine, text, MARKS)
    (first, second), reason = calls_of(engine, stream=stream)
    assert first["function"] == {"name": "get", "arguments": '{"a": 1}'}
    assert second["type"] == "custom"
    assert second["id"]
    assert second["custom"] == {"name": "patch", "input": TEXT}
    assert reason == "tool_calls"


def test_a_call_that_is_cut_has_no_input_in_a_stream(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, written("patch", {"input": TEXT}), MARKS)
    whole: Any = engine.create_chat_completion(HELLO, tools=[PATCH])
    more: dict[str, Any] = {"max_tokens": whole["usage"]["completion_tokens"] - 4}
    assert calls_of(engine, stream=False, **more) == ([], "length")
    (call,), reason = calls_of(engine, stream=True, **more)
    assert call["custom"] == {"name": "patch", "input": ""}
    assert reason == "length"


@pytest.mark.parametrize("choice", ["required", {"type": "custom", "custom": {"name": "patch"}}])
def test_a_forced_call_has_a_text(engine: Engine, choice: Any) -> None:
    asked: dict[str, Any] = {"tools": [PATCH], "tool_choice": choice, "max_tokens": 200}
    bias = {engine.tokenize('"', add_bos=False)[0]: 40.0}  # or the string may be long
    answer: Any = engine.create_chat_completion(HELLO, seed=1, logit_bias=bias, **asked)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["type"] == "custom"
    assert set(call["custom"]) == {"name", "input"}
    assert isinstance(call["custom"]["input"], str)


def chosen(choice: Any = None, *tools: Any) -> Tools:
    return tools_of(PromptKeywords(messages=[], tools=tools or (PATCH,), tool_choice=choice))


def test_the_model_sees_a_function() -> None:
    tools = chosen()
    (function,) = tools.functions.values()
    assert function["name"] == "patch"
    assert function["description"] == "Edits a file."
    assert function["parameters"]["required"] == ["input"]
    assert function["parameters"]["properties"] == {"input": {"type": "string"}}
    assert tools.custom == {"patch"}
    plain: Any = {"type": "custom", "custom": {"name": "p", "format": {"type": "text"}}}
    assert set(chosen(None, plain).functions["p"]) == {"name", "parameters"}


def test_choices_of_custom_tools() -> None:
    named = {"type": "custom", "custom": {"name": "patch"}}
    assert chosen(named, *TOOLS, PATCH).forced == ("patch",)
    for allowed in ([named], [{"type": "custom", "name": "patch"}]):
        choice = {"type": "allowed_tools", "mode": "auto", "tools": allowed}
        tools = chosen(choice, *TOOLS, PATCH)
        assert set(tools.functions) == tools.custom == {"patch"}
    # The server may have left it out.
    gone = {"type": "custom", "name": "gone"}
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [*allowed, gone]}
    assert set(chosen(choice, *TOOLS, PATCH).functions) == {"patch"}
    assert chosen({"type": "function", "function": {"name": "get"}}, *TOOLS, PATCH).custom == {
        "patch"
    }


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ({"type": "custom"}, "tools[0]['custom'] is None; it must be a dictionary"),
        ({"type": "custom", "custom": {}}, "tools[0]['custom']['name']"),
        ({"type": "custom", "custom": {"name": ""}}, "tools[0]['custom']['name'] is empty"),
        ({"type": "custom", "custom": {"name": "p", "format": GRAMMAR}}, "is a grammar; it must"),
        ({"type": "custom", "custom": {"name": "p", "format": "lark"}}, "is 'lark'; it must"),
        ({"type": "custom", "custom": {"name": "p", "format": {}}}, "is {}; it must"),
        ({"type": "web_search"}, "must be of type 'function' or 'custom'"),
    ],
)
def test_wrong_tools(tool: Any, words: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        chosen(None, tool)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"type": "custom", "custom": {"name": "fly"}}, "names 'fly'"),
        ({"type": "custom", "custom": {"name": "get"}}, "names 'get' with the type 'custom'"),
        ({"type": "function", "function": {"name": "patch"}}, "with the type 'function'"),
        ({"type": "custom"}, "{'type': 'custom', 'custom': {'name': ...}}"),
    ],
)
def test_wrong_choices(choice: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match="tool_choice") as error:
        chosen(choice, *TOOLS, PATCH)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "a\\nb"}', "a\nb"),
        ('{"input": "a", "other": 1}', "a"),
        ('{"patch": "a"}', "a"),
        ('{"input": {"b": "ä"}}', '{"b": "ä"}'),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2}'),
        ("{}", "{}"),
    ],
)
def test_other_arguments_are_no_loss(arguments: str, text: str) -> None:
    assert input_of(arguments) == text
