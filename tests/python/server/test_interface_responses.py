"""``/v1/responses`` with OpenAI's own client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from tests.python.support.openai_clients import openai_client
from tests.python.support.server_models import MESSAGES, chat
from tests.python.support.server_support import KEY, FakeModel, FakeText, Running, serving, told

from specbranch_cpp.server.interfaces.responses_reply import ResponseForm
from specbranch_cpp.server.interfaces.responses_request import ResponseFields, response_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from specbranch_cpp import Engine

ASKED: dict[str, Any] = {"temperature": 0.7, "extra_body": {"seed": 11}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"size": {"enum": [1, 2, 5]}},
    "required": ["size"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "name": "measure", "parameters": SCHEMA, "strict": True}


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, api_keys=(KEY,), request_timeout_s=60) as running:
        running.client.headers["authorization"] = f"Bearer {KEY}"
        yield running


def test_a_text(client: openai.OpenAI, models: Engine) -> None:
    expected = chat(models, MESSAGES, max_tokens=30, temperature=0.7, seed=11)
    response = client.responses.create(
        model="any", input="Sort a list of numbers.", max_output_tokens=30, **ASKED
    )
    assert response.output_text == expected["choices"][0]["message"]["content"]
    assert response.status == "incomplete"
    assert response.output[0].status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.input_tokens == expected["usage"]["prompt_tokens"]
    assert response.usage.output_tokens == 30


def test_a_stream(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "any",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Sort a list."}]},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "sorted(x)", "annotations": []}],
            },
            {"role": "user", "content": "Now the other way round."},
        ],
        "max_output_tokens": 20,
        **ASKED,
    }
    whole = client.responses.create(**asked)
    kinds = []
    numbers = []
    with client.responses.create(**asked, stream=True) as stream:
        for event in stream:
            kinds.append(event.type)
            numbers.append(event.sequence_number)
    assert event.type == "response.incomplete"
    assert event.response.output_text == whole.output_text
    assert numbers == list(range(len(numbers)))
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]


def test_a_schema(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="any",
        input="Which size?",
        text={"format": {"type": "json_schema", "name": "size", "schema": SCHEMA, "strict": True}},
        **ASKED,
    )
    assert json.loads(response.output_text)["size"] in (1, 2, 5)
    assert response.status == "completed"


def test_tools(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "any", "input": [{"role": "user", "content": "Measure it."}], "tools": [TOOL],
        "tool_choice": {"type": "function", "name": "measure"}, **ASKED,
    }  # fmt: skip
    response = client.responses.create(**asked)
    (call,) = response.output
    assert call.type == "function_call"
    assert call.name == "measure"
    assert json.loads(call.arguments)["size"] in (1, 2, 5)
    with client.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        (again,) = stream.get_final_response().output
    assert again.type == "function_call"
    assert again.arguments == call.arguments
    assert "response.function_call_arguments.delta" in kinds
    assert kinds[-1] == "response.completed"
    # The client sends the call and its result back.
    history = [
        *asked["input"],
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "5 cm"},
    ]
    answer = client.responses.create(model="any", input=history, max_output_tokens=8, **ASKED)
    assert answer.output_text


def test_allowed_tools(server: Running) -> None:
    other = {"type": "function", "name": "weigh", "parameters": {}}
    some = [{"type": "function", "name": "measure"}, {"type": "web_search"}]
    allowed = {"type": "allowed_tools", "mode": "required", "tools": some}
    body = {"input": "x", "tools": [other, TOOL, {"type": "web_search"}], "tool_choice": allowed}
    reply = server.client.post("/v1/responses", json=body | {"seed": 11})
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-ignored-fields"] == "tools[2]"
    assert [item["name"] for item in reply.json()["output"]] == ["measure"]
    assert reply.json()["tool_choice"] == allowed
    wrong = allowed | {"tools": [{"type": "function", "name": "fly"}]}
    reply = server.client.post("/v1/responses", json=body | {"tool_choice": wrong})
    assert "names 'fly'" in told(reply, 400, "invalid_value")["message"]
    chat_tools = [{"type": "function", "function": {"name": name}} for name in ("measure", "weigh")]
    chosen = {"mode": "required", "tools": chat_tools[:1]}
    asked: dict[str, Any] = {
        "messages": MESSAGES, "tools": chat_tools, "seed": 11,
        "tool_choice": {"type": "allowed_tools", "allowed_tools": chosen},
    }  # fmt: skip
    reply = server.client.post("/v1/chat/completions", json=asked)
    assert reply.status_code == 200, reply.text
    (call,) = reply.json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "measure"


def test_items_of_other_tools_are_left_out(server: Running) -> None:
    """What tools did that run elsewhere; Codex sends such items of earlier turns."""
    items = [
        ASK,
        thought("a"),
        {"type": "web_search_call", "id": "ws_1", "status": "completed",
         "action": {"type": "search", "query": "x"}},
        {"type": "mcp_list_tools", "server_label": "x", "tools": []},
        {"type": "local_shell_call", "call_id": "1", "action": {"command": ["ls"]}},
        {"type": "local_shell_call_output", "call_id": "1", "output": "x"},
        {"type": "tool_search_output", "call_id": "2", "tools": []},
        SAY,
        ASK,
    ]  # fmt: skip
    assert messages_of(*items) == [ASK, SAY | {"reasoning_content": "a"}, ASK]
    reply = server.client.post("/v1/responses", json={"input": items, "max_output_tokens": 2})
    assert reply.status_code == 200, reply.text
    names = ", ".join(f"input[{i}]" for i in range(2, 7))
    assert reply.headers["x-ignored-fields"] == names
    only = {"input": items[2:4], "max_output_tokens": 2}
    reply = server.client.post("/v1/responses", json=only)
    assert told(reply, 400, "invalid_value")["param"] == "input"


def test_calls_with_a_text_are_calls() -> None:
    """Tools of the type ``custom`` get a text, which a function gets as its one argument."""
    call = {"type": "custom_tool_call", "call_id": "1", "name": "apply_patch", "input": "*** x"}
    answer = {"type": "custom_tool_call_output", "call_id": "1", "output": "done"}
    (_, asked, result_) = messages_of(ASK, call, answer)
    custom = {"name": "apply_patch", "input": "*** x"}
    calls = [{"id": "1", "type": "custom", "custom": custom}]  # as in a chat
    assert asked == {"role": "assistant", "content": None, "tool_calls": calls}
    assert result_ == {"role": "tool", "tool_call_id": "1", "content": "done"}


def test_a_call_that_is_cut(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "any", "input": "Measure it.", "tools": [TOOL], "tool_choice": "required",
        "max_output_tokens": 9, **ASKED,
    }  # fmt: skip
    with client.responses.create(**asked, stream=True) as stream:
        *_, last = stream
    assert last.type == "response.incomplete"
    assert [item.status for item in last.response.output][-1] == "incomplete"
    assert client.responses.create(**asked).output[-1].status == "incomplete"


@pytest.mark.parametrize(("arguments", "status"), [('{"a": 1', "incomplete"), ("{}", "completed")])
def test_a_call_after_which_text_comes(arguments: str, status: str) -> None:
    """A call whose form the model breaks has begun in the stream, and cannot be taken back."""
    form = ResponseForm({})
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}
    events = []
    for delta in ({"tool_calls": [call]}, {"content": "So."}):
        choice = {"delta": delta, "finish_reason": None}
        written = form.chunk({"created": 1, "model": "m", "choices": [choice]}).decode()
        events += [json.loads(line[6:]) for line in written.splitlines() if line[:5] == "data:"]
    (done,) = [event for event in events if event["type"] == "response.output_item.done"]
    assert (done["item"]["type"], done["item"]["status"]) == ("function_call", status)


def test_a_failure_before_the_first_word() -> None:
    settings: dict[str, Any] = {"request_timeout_s": 3.0, "heartbeat_s": 0.05}
    with (
        serving(FakeModel(), FakeText(), **settings) as server,
        openai_client(server) as client,
        client.responses.stream(model="any", input="#silent") as stream,
    ):
        events = [event.model_dump() for event in stream]
    begun, _, error, failed = events
    kinds = ["response.created", "response.in_progress", "error", "response.failed"]
    assert [event["type"] for event in events] == kinds
    assert [event["sequence_number"] for event in events] == [0, 1, 2, 3]
    assert error["code"] == "timeout"
    response = failed["response"]
    assert (response["status"], response["model"]) == ("failed", "any")
    assert response["error"]["message"] == error["message"]
    assert response["id"] == begun["response"]["id"]


def test_the_parts_of_a_message_are_lines() -> None:
    parts = [{"type": "input_text", "text": "Sort"}, {"type": "input_text", "text": "a list."}]
    body = {"model": "any", "input": [{"role": "user", "content": parts}]}
    (message,) = response_call(ResponseFields.model_validate(body)).arguments["messages"]
    assert message == {"role": "user", "content": "Sort\na list."}


def messages_of(*items: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of the chat that the engine gets."""
    call = response_call(ResponseFields.model_validate({"input": list(items)}))
    messages: list[dict[str, Any]] = call.arguments["messages"]
    return messages


def thought(text: str, field: str = "content") -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", field: [{"type": f"{field}_text", "text": text}]}


def called(name: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": name, "name": "measure", "arguments": "{}"}


def result(name: str, output: Any = "5") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": name, "output": output}


ASK: dict[str, Any] = {"role": "user", "content": "Measure it."}
SAY: dict[str, Any] = {"role": "assistant", "content": "So."}


def test_thoughts_stay_with_what_they_led_to() -> None:
    told = messages_of(
        ASK, thought("a"), called("1"), result("1"), thought("b", "summary"), SAY, called("2"),
        result("2"), thought("c"), thought("d"), called("3"), result("3"), SAY,
    )  # fmt: skip
    thoughts = [one.get("reasoning_content") for one in told if one["role"] == "assistant"]
    assert thoughts == ["a", "b", "c\nd", None]
    assert [one["role"] for one in told] == ["user", *("assistant", "tool") * 3, "assistant"]
    (_, both, _, _) = messages_of(
        ASK, thought("a"), SAY, thought("b"), called("1"), result("1"), SAY
    )
    assert (both["reasoning_content"], both["content"]) == ("a\nb", "So.")


def test_thoughts_without_a_text_are_skipped() -> None:
    nothing: list[dict[str, Any]] = [
        {"type": "reasoning"},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "x"},
        {"type": "reasoning", "summary": [], "content": []},
    ]
    assert messages_of(ASK, *nothing, SAY) == [ASK, SAY]
    assert messages_of(thought("a"), ASK, SAY) == [ASK, SAY]
    both = thought("a") | {"summary": [{"type": "summary_text", "text": "s"}]}
    assert messages_of(ASK, both, SAY) == [ASK, SAY | {"reasoning_content": "a"}]


def test_tools_that_run_elsewhere_are_left_out(server: Running) -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    others = [{"type": "web_search"},
              {"type": "custom", "name": "apply_patch", "format": grammar},
              {"type": "namespace", "name": "n", "tools": [TOOL]}]  # fmt: skip
    body = {"input": "x", "tools": [others[0], TOOL, *others[1:]], "max_output_tokens": 2}
    call = response_call(ResponseFields.model_validate(body))
    function = {name: value for name, value in TOOL.items() if name != "type"}
    assert call.arguments["tools"] == [{"type": "function", "function": function}]
    for fields in (body, body | {"stream": True}):
        reply = server.client.post("/v1/responses", json=fields)
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-ignored-fields"] == "tools[0], tools[2], tools[3]"
    choice = {"type": "function", "name": "apply_patch"}
    reply = server.client.post("/v1/responses", json=body | {"tool_choice": choice})
    assert "apply_patch" in told(reply, 400, "invalid_value")["message"]
    only = {"input": "x", "tools": others, "max_output_tokens": 2}
    assert server.client.post("/v1/responses", json=only).status_code == 200


def test_images_in_results_are_told_of() -> None:
    """Codex's view_image sends them, and the conversation goes on with them."""
    parts = [{"type": "input_text", "text": "plot"}, {"type": "input_image", "image_url": "data:"}]
    (_, _, answer) = messages_of(ASK, called("1"), result("1", parts))
    assert answer["content"] == "plot\n[input_image: this model reads text only]"


def test_a_stream_that_waits_has_events() -> None:
    """Codex drops streams whose comments are all that comes."""
    form = ResponseForm({})
    assert form.beat() == b": \n\n"
    form.chunk({"created": 1, "model": "m", "choices": []})
    beat = form.beat()
    assert beat.startswith(b"event: response.in_progress\n")
    event = json.loads(beat.partition(b"data: ")[2])
    assert (event["type"], event["sequence_number"]) == ("response.in_progress", 2)
    assert event["response"]["status"] == "in_progress"


def test_heartbeats_of_a_stream_are_numbered() -> None:
    settings: dict[str, Any] = {"request_timeout_s": 3.0, "heartbeat_s": 0.05}
    with (
        serving(Waiting(), Waiting(), **settings) as server,
        openai_client(server) as client,
        client.responses.create(model="any", input="x", stream=True) as stream,
    ):
        events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.count("response.in_progress") > 2
    assert [event.sequence_number for event in events] == list(range(len(events)))


class Waiting(FakeModel):
    """An engine whose answer begins and then takes its time."""

    async def create_chat_completion(self, **_: Any) -> Any:
        return _WaitingStream(self._chunks())

    async def _chunks(self) -> AsyncIterator[dict[str, Any]]:
        yield {"created": 1, "model": "m", "choices": []}
        await asyncio.sleep(60)


class _WaitingStream(contextlib.aclosing[Any]):
    generation = SimpleNamespace(n_prompt=3)


def test_no_field_is_overwritten() -> None:
    def arguments(**fields: Any) -> dict[str, Any]:
        return response_call(ResponseFields.model_validate({"input": "x", **fields})).arguments

    assert arguments(max_output_tokens=5)["max_tokens"] == 5
    assert arguments(max_completion_tokens=5)["max_completion_tokens"] == 5
    assert arguments(max_tokens=5)["max_tokens"] == 5
    assert arguments(max_tokens=5, max_output_tokens=9)["max_tokens"] == 5
    form = {"type": "json_object"}
    assert arguments(response_format=form)["response_format"] == form
    assert arguments(response_format=form, text={"format": form})["response_format"] == form


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"messages": [{"role": "user", "content": "y"}]}, "input"),
        ({"response_format": {"type": "text"}, "text": {"format": {"type": "json_object"}}},
         "text.format"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
         "tool_choice.type"),
        ({"tools": [{"type": "custom", "name": "f", "format": {"type": "grammar"}}],
          "tool_choice": {"type": "custom", "name": "f"}}, "tool_choice"),
        ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary"),
        ({"input": [{"type": "reasoning", "content": [{"text": 1}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "image", "role": "user"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": ["web_search_call"]}]}, "input[0].type"),
        ({"input": [{"type": "custom_tool_call", "call_id": "1", "name": "f"}]}, "input[0].input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
         "input[0].content[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": []}, "input"),
        ({"max_output_tokens": "3"}, "max_output_tokens"),
        ({"temperature": -1}, "temperature"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named(server: Running, fields: dict[str, Any], param: str) -> None:
    reply = server.client.post("/v1/responses", json={"input": "x", **fields})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_no_response_is_kept(server: Running, client: openai.OpenAI) -> None:
    told(server.client.get("/v1/responses/resp_1"), 404, "not_found")
    # JavaScript's client sends no content type without a body.
    told(server.client.delete("/v1/responses/resp_1"), 404, "not_found")
    told(server.client.post("/v1/responses/resp_1/cancel"), 404, "not_found")
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError, match="keeps no responses"):
            call("resp_1")
    told(server.client.post("/v1/responses"), 400, "invalid_json")
    told(server.client.post("/v1/responses", content=b"{}"), 415, "unsupported_media_type")


def test_a_key_is_needed(server: Running) -> None:
    with httpx.Client(base_url=server.url) as stranger:
        told(stranger.post("/v1/responses", json={"input": "x"}), 401, "invalid_api_key")
        told(stranger.post("/completion", json={"prompt": "x"}), 401, "invalid_api_key")
        assert stranger.get("/api/tags").status_code == 401
