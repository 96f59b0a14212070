"""Calls of custom tools over HTTP, with OpenAI's own client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests.python.support.scripted import make_engine, script, template_with
from tests.python.support.server_support import Running, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp import Engine

MARKS = ("<tool_call>", "</tool_call>")
TEMPLATE = template_with(MARKS)
TEXT = '*** "a"\n ä'
CALL = json.dumps({"name": "patch", "arguments": {"input": TEXT}}, ensure_ascii=False)
ANSWER = f"So: <tool_call>{CALL}</tool_call>"
TOOL: Any = {"type": "custom", "name": "patch", "description": "Edits.", "format": {"type": "text"}}
IN_CHAT: Any = {"type": "custom", "custom": {"name": "patch"}}
MESSAGES: Any = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with make_engine(tmp_path_factory.mktemp("model"), TEMPLATE, MARKS) as engine:
        yield engine


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[Running]:
    with serving(engine, request_timeout_s=60) as running:
        yield running


def test_a_response(client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, engine, ANSWER, MARKS)
    asked: dict[str, Any] = {"model": "any", "input": "x", "tools": [TOOL]}
    text, call = client.responses.create(**asked).output
    assert text.type == "message"
    assert call.type == "custom_tool_call"
    assert (call.name, call.input) == ("patch", TEXT)
    assert call.call_id
    with client.responses.create(**asked, stream=True) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    begin = kinds.index("response.custom_tool_call_input.delta") - 1
    assert kinds[begin:] == [
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
        "response.completed",
    ]
    added, delta, done, item, last = (event.model_dump() for event in events[begin:])
    assert added["item"]["input"] == ""
    assert added["item"]["id"] == delta["item_id"] == done["item_id"] == item["item"]["id"]
    assert delta["delta"] == done["input"] == item["item"]["input"] == TEXT
    assert item["item"]["status"] == "completed"
    assert last["response"]["output"][-1] == item["item"]


def test_a_response_that_is_cut(
    client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, ANSWER, MARKS)
    asked: dict[str, Any] = {"model": "any", "input": "x", "tools": [TOOL]}
    usage = client.responses.create(**asked).usage
    assert usage is not None
    asked["max_output_tokens"] = usage.output_tokens - 4
    with client.responses.create(**asked, stream=True) as stream:
        *_, last = stream
    assert last.type == "response.incomplete"
    call = last.response.output[-1]
    assert call.type == "custom_tool_call"
    assert call.model_dump()["status"] == "incomplete"
    assert call.input == ""


def test_a_chat(client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, engine, ANSWER, MARKS)
    asked: dict[str, Any] = {"model": "any", "messages": MESSAGES, "tools": [IN_CHAT]}
    (choice,) = client.chat.completions.create(**asked).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "custom"
    assert (call.custom.name, call.custom.input) == ("patch", TEXT)
    with client.chat.completions.create(**asked, stream=True) as stream:
        chunks = [chunk.model_dump() for chunk in stream]
    deltas = [chunk["choices"][0]["delta"]["tool_calls"] for chunk in chunks]
    begin, given = [delta[0] for delta in deltas if delta]
    assert begin["type"] == "custom"
    assert begin["custom"] == {"name": "patch", "input": ""}
    assert given["custom"] == {"input": TEXT}
    # The client sends the call back, and the model reads a call of a function.
    answer: Any = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    history = [*MESSAGES, choice.message.model_dump(exclude_none=True), answer]
    assert client.chat.completions.create(**asked | {"messages": history}).choices


@pytest.mark.parametrize("choice", [{"type": "custom", "name": "patch"}, "required"])
def test_a_call_that_must_be(client: openai.OpenAI, engine: Engine, choice: Any) -> None:
    bias = {str(engine.tokenize('"', add_bos=False)[0]): 40.0}  # or the string may be long
    response = client.responses.create(
        model="any", input="x", tools=[TOOL], tool_choice=choice, max_output_tokens=200,
        extra_body={"logit_bias": bias},
    )  # fmt: skip
    (call,) = response.output
    assert call.type == "custom_tool_call"
    assert call.name == "patch"


def test_the_prompt_describes_a_function(server: Running) -> None:
    body = {"messages": MESSAGES, "tools": [IN_CHAT]}
    prompt = server.client.post("/apply-template", json=body).json()["prompt"]
    assert '"type": "function"' in prompt
    assert '"input": {"type": "string"}' in prompt
