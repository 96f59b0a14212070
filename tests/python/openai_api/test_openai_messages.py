"""Messages as clients send them: contents, parts, calls and results in many shapes."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from specbranch_cpp import InvalidArgument
from specbranch_cpp.openai_api.messages import plain_messages

USER = {"role": "user", "content": "x"}


def call(arguments: Any = "{}", name: str = "a") -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": "f", "arguments": arguments}}


def result(name: str, content: Any = "r") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": name, "content": content}


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_calls": []},
        {"tool_calls": ()},
        {"tool_calls": None},
        {"function_call": None},
        {"tool_calls": [], "function_call": None},
    ],
)
@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_no_calls_are_no_field(role: str, fields: dict[str, Any]) -> None:
    (plain,) = plain_messages([{"role": role, "content": "x", **fields}])
    assert plain == {"role": role, "content": "x"}


@pytest.mark.parametrize("role", ["assistant", "tool", "function"])
def test_a_content_may_be_missing(role: str) -> None:
    for message in ({"role": role}, {"role": role, "content": None}, {"role": role, "content": []}):
        assert plain_messages([message])[0]["content"] == ""


@pytest.mark.parametrize("role", ["system", "developer", "user"])
def test_a_question_needs_a_content(role: str) -> None:
    for message in ({"role": role}, {"role": role, "content": None}):
        with pytest.raises(InvalidArgument, match=r"messages\[0\]\['content'\] is None"):
            plain_messages([message])


@pytest.mark.parametrize(
    ("parts", "content", "thoughts"),
    [
        ([{"type": "text", "text": "a", "cache_control": {}}], "a", None),
        ([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}], "a\nb", None),
        (["a", "b"], "a\nb", None),
        ([{"type": "refusal", "refusal": "no"}], "no", None),
        ([{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "b"}], "b", "t"),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "t"}, "u"]},
                {"type": "redacted_thinking", "data": "?"},
                {"type": "reasoning", "text": "v"},
                "b",
            ],
            "b",
            "t\nu\nv",
        ),
    ],
)
def test_parts(parts: Any, content: str, thoughts: str | None) -> None:
    (plain,) = plain_messages([{"role": "assistant", "content": parts}])
    assert plain["content"] == content
    assert plain.get("reasoning_content") == thoughts


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", None, ["text"]])
def test_parts_that_are_no_text_are_named(kind: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"messages\[0\]\['content'\]\[1\] has type"):
        plain_messages([{"role": "user", "content": ["a", {"type": kind}]}])


@pytest.mark.parametrize("role", ["tool", "function"])
def test_parts_of_results_that_are_no_text_are_told_of(role: str) -> None:
    parts = [{"type": "text", "text": "plot"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    (plain,) = plain_messages([{"role": role, "content": parts}])
    assert plain["content"] == "plot\n[image_url: this model reads text only]"
    for wrong in ({"type": None}, {"type": "a" * 100}, {"text": "x"}, 3):
        with pytest.raises(InvalidArgument, match=r"messages\[0\]\['content'\]\[0\]"):
            plain_messages([{"role": role, "content": [wrong]}])


def test_a_refusal_and_thoughts_in_fields() -> None:
    refused, thought, renamed = plain_messages(
        [
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "assistant", "content": "b", "reasoning_content": "t", "reasoning": "old"},
            {"role": "assistant", "content": "b", "reasoning": "t", "reasoning_content": None},
        ]
    )
    assert refused["content"] == "no"
    assert thought["reasoning_content"] == renamed["reasoning_content"] == "t"
    (plain,) = plain_messages([{"role": "assistant", "content": "b", "reasoning_content": None}])
    assert "reasoning_content" not in plain


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        ("  ", {}),
        ("null", {}),
        (None, {}),
        ('{"path": "', '{"path": "'),
        ('{"a":1}{"a":2}', '{"a":1}{"a":2}'),
        ("{'a': 1}", "{'a': 1}"),
        ("abc", "abc"),
        ("[1]", "[1]"),
        ('"s"', '"s"'),
        (1, "1"),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": "\\ud800"}', '{"a": "\\ud800"}'),
        ("[" * 100_000, "[" * 100_000),
        ("1" * 5000, "1" * 5000),
    ],
)
def test_arguments_that_are_no_object_stay_text(given: Any, plain: Any) -> None:
    (message,) = plain_messages([{"role": "assistant", "tool_calls": [call(given)]}])
    assert message["tool_calls"][0]["function"]["arguments"] == plain
    (old,) = plain_messages(
        [{"role": "assistant", "function_call": {"name": "f", "arguments": given}}]
    )
    assert old["tool_calls"][0]["function"]["arguments"] == plain


def test_a_call_with_a_text_is_one_with_an_argument() -> None:
    """Tools of the type ``custom`` take a text; a function takes it as ``input``."""
    asked = {"id": "1", "type": "custom", "custom": {"name": "patch", "input": "*** x"}}
    (message,) = plain_messages([{"role": "assistant", "tool_calls": [asked]}])
    function = {"name": "patch", "arguments": {"input": "*** x"}}
    assert message["tool_calls"] == [{"id": "1", "type": "function", "function": function}]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({}, "custom must have a name and an input"),
        ({"custom": {"input": "x"}}, "custom must have a name and an input"),
        ({"custom": {"name": "f"}}, r"\['custom'\]\['input'\]"),
        ({"custom": {"name": "f", "input": {}}}, r"\['custom'\]\['input'\]"),
        ({"function": {"name": "f", "arguments": "{}"}}, "custom must have a name and an input"),
    ],
)
def test_a_wrong_call_with_a_text_is_named(wrong: dict[str, Any], what: str) -> None:
    messages = [{"role": "assistant", "tool_calls": [{"type": "custom", **wrong}]}]
    with pytest.raises(InvalidArgument, match=what):
        plain_messages(messages)


class Role(str, Enum):
    """As frameworks for chats have them."""

    USER = "user"


def test_a_role_may_be_a_member_of_an_enumeration() -> None:
    (plain,) = plain_messages([{"role": Role.USER, "content": "x"}])
    assert str(plain["role"]) == "user"


def test_the_old_role_of_results_is_the_new_one() -> None:
    (plain,) = plain_messages([{"role": "function", "name": "f", "content": "r"}])
    assert plain == {"role": "tool", "name": "f", "content": "r"}


def test_results_are_in_the_order_of_the_calls() -> None:
    answer = {"role": "assistant", "tool_calls": [call(name="a"), call(name="b"), call(name="c")]}
    ordered = plain_messages(
        [USER, answer, result("c"), result("x"), result("b"), result("a"), USER, result("b")]
    )
    ids = [message.get("tool_call_id") for message in ordered]
    assert ids == [None, None, "a", "b", "c", "x", None, "b"]
    without = plain_messages([answer, {"role": "tool", "content": "1"}, result("a", "2")])
    assert [message["content"] for message in without[1:]] == ["2", "1"]


def test_calls_with_the_same_id_are_answered_in_their_order() -> None:
    """Some servers use the name of the function as the id."""
    answer = {"role": "assistant", "tool_calls": [call(name=name) for name in "xyx"]}
    given = [result("x", "1"), result("y", "2"), result("x", "3")]
    assert plain_messages([answer, *given])[1:] == given
    late = plain_messages([answer, *reversed(given), result("x", "4")])[1:]
    assert [message["content"] for message in late] == ["3", "2", "1", "4"]


def deep(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


@pytest.mark.parametrize(
    "message",
    [
        deep(5000),
        {"role": deep(5000), "content": "x"},
        {"role": "user", "content": deep(5000)},
        {"role": "assistant", "tool_calls": deep(5000)},
    ],
)
def test_a_deep_message_is_refused(message: Any) -> None:
    with pytest.raises(InvalidArgument, match="messages is nested too deeply"):
        plain_messages([USER, message])


def test_thoughts_in_thoughts() -> None:
    part: Any = {"type": "thinking", "thinking": [{"type": "thinking", "thinking": "t"}]}
    assert plain_messages([{"role": "assistant", "content": [part]}])[0]["reasoning_content"] == "t"
    for _ in range(2000):
        part = {"type": "thinking", "thinking": [part]}
    with pytest.raises(InvalidArgument, match="messages is nested too deeply"):
        plain_messages([{"role": "assistant", "content": [part]}])
