"""``tool_choice`` of the type ``allowed_tools``: the model gets some of the tools only."""

from __future__ import annotations

from typing import Any

import pytest
from tests.python.support.call_formats import TOOLS

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.keywords import PromptKeywords
from specbranch_cpp.openai_api.tool_calls.declarations import Tools, tools_of


def choice_of(mode: Any, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def flat(mode: Any, *names: str) -> dict[str, Any]:
    """The same as ``/v1/responses`` has it."""
    tools = [{"type": "function", "name": name} for name in names]
    return {"type": "allowed_tools", "mode": mode, "tools": tools}


def chosen(choice: Any, **fields: Any) -> Tools:
    return tools_of(PromptKeywords(messages=[], tools=TOOLS, tool_choice=choice, **fields))


@pytest.mark.parametrize("form", [choice_of, flat])
def test_only_the_allowed_tools_are_given(form: Any) -> None:
    tools = chosen(form("auto", "set"))
    assert (list(tools.functions), tools.forced, tools.many) == (["set"], (), True)
    tools = chosen(form("required", "set"))
    assert (list(tools.functions), tools.forced, tools.many) == (["set"], ("set",), False)
    tools = chosen(form("required", "set", "get"), parallel_tool_calls=True)
    assert tools == Tools(tuple(TOOLS), ("get", "set"), many=True)
    assert chosen(form("auto")) == Tools()


def test_tools_that_are_no_functions_are_passed_over() -> None:
    choice = flat("auto", "get")
    choice["tools"] += [{"type": "web_search"}, {"type": "mcp", "server_label": "x"}]
    assert list(chosen(choice).functions) == ["get"]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (choice_of("auto", "fly"), "names 'fly'; the tools are get, set"),
        (choice_of("none", "get"), "mode is 'none'; it must be 'auto' or 'required'"),
        (choice_of(None, "get"), "mode is None"),
        (choice_of("required"), "'required', but no tools are allowed"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}, "tools is None"),
        ({"type": "allowed_tools", "allowed_tools": "get"}, "allowed_tools is 'get'"),
        ({"type": "allowed_tools", "mode": "auto", "tools": ["get"]}, "tools has 'get'"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function"}]}, "tools has"),
    ],
)
def test_wrong_choices(choice: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match="tool_choice") as error:
        chosen(choice)
    assert words in str(error.value)
