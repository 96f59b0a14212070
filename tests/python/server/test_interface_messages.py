"""``/v1/messages`` with Anthropic's own client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import pytest
from tests.python.support.server_models import MESSAGES, chat
from tests.python.support.server_support import KEY, Running, serving

from specbranch_cpp.errors import ContextOverflow
from specbranch_cpp.server.error_forms import error_response, message_error
from specbranch_cpp.server.errors import ApiError, QueueFull, from_exception
from specbranch_cpp.server.interfaces.messages_reply import MessageForm
from specbranch_cpp.server.interfaces.messages_request import MessageFields, message_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp import Engine

ASKED: dict[str, Any] = {
    "model": "any", "max_tokens": 30, "messages": MESSAGES,
    "extra_body": {"seed": 11, "temperature": 0.7},
}  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"size": {"enum": [1, 2, 5]}},
    "required": ["size"],
    "additionalProperties": False,
}
BILLING = "x-anthropic-billing-header: cc_version=2.1.63.a43; cc_entrypoint=cli; cch=fa690;"
TOOL: Any = {"name": "measure", "description": "Measure a part.", "input_schema": SCHEMA}


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, api_keys=(KEY,), request_timeout_s=60) as running:
        running.client.headers["x-api-key"] = KEY
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0) as client:
        yield client


def arguments(**fields: Any) -> dict[str, Any]:
    """What the engine is asked."""
    body = {"messages": MESSAGES, "max_tokens": 5, **fields}
    return message_call(MessageFields.model_validate(body)).arguments


def result(content: Any) -> dict[str, Any]:
    """A message with the result of a call."""
    block = {"type": "tool_result", "tool_use_id": "1", "content": content}
    return {"messages": [{"role": "user", "content": [block]}]}


def n_read(usage: Any) -> int:
    """All tokens of the prompt."""
    return int(usage.input_tokens + usage.cache_read_input_tokens)


def test_a_text(client: anthropic.Anthropic, models: Engine) -> None:
    expected = chat(models, MESSAGES, max_tokens=30, temperature=0.7, seed=11)
    message = client.messages.create(**ASKED)
    (block,) = message.content
    assert block.type == "text"
    assert block.text == expected["choices"][0]["message"]["content"]
    assert (message.role, message.type) == ("assistant", "message")
    assert (message.stop_reason, message.stop_sequence) == ("max_tokens", None)
    usage = message.usage
    assert usage.cache_read_input_tokens is not None
    n_prompt = usage.input_tokens + usage.cache_read_input_tokens
    assert n_prompt == expected["usage"]["prompt_tokens"]
    assert usage.output_tokens == 30


def test_a_stream(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASKED)
    kinds = []
    with client.messages.create(**ASKED, stream=True) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert events[0].type == "message_start"
    assert events[0].message.usage.input_tokens == n_read(whole.usage)
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    with client.messages.stream(**ASKED) as collected:
        text = "".join(collected.text_stream)
        message = collected.get_final_message()
    assert whole.content[0].type == "text"
    assert text == whole.content[0].text
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 30
    assert n_read(message.usage) == n_read(whole.usage)


def test_a_stop_sequence(client: anthropic.Anthropic) -> None:
    text = client.messages.create(**ASKED).content[0]
    assert text.type == "text"
    stop = text.text[10:14]
    begin = text.text.index(stop)
    message = client.messages.create(**ASKED, stop_sequences=["no such text", stop])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
    (block,) = message.content
    assert block.type == "text"
    assert block.text == text.text[:begin]
    with client.messages.stream(**ASKED, stop_sequences=[stop]) as stream:
        last = stream.get_final_message()
    assert (last.stop_reason, last.stop_sequence) == ("stop_sequence", stop)


def test_an_answer_that_the_client_has_begun(client: anthropic.Anthropic, models: Engine) -> None:
    begun = [*MESSAGES, {"role": "assistant", "content": "def sort("}]
    expected = chat(models, begun, max_tokens=30, temperature=0.7, seed=11,
                    continue_final_message=True)  # fmt: skip
    (block,) = client.messages.create(**(ASKED | {"messages": begun})).content
    assert block.type == "text"
    assert block.text == expected["choices"][0]["message"]["content"]


def test_tools(client: anthropic.Anthropic) -> None:
    asked = ASKED | {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "measure"},
                     "max_tokens": 200}  # fmt: skip
    message = client.messages.create(**asked)
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert call.type == "tool_use"
    assert call.name == "measure"
    assert call.input["size"] in (1, 2, 5)
    with client.messages.stream(**asked) as stream:
        kinds = [event.delta.type for event in stream if event.type == "content_block_delta"]
        (again,) = stream.get_final_message().content
    assert set(kinds) == {"input_json_delta"}
    assert again.type == "tool_use"
    assert again.input == call.input
    # The client sends the call and its result back.
    history = [
        *MESSAGES,
        {"role": "assistant", "content": [call.model_dump(exclude_none=True)]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": call.id, "content": "5 cm"}]},
    ]  # fmt: skip
    answer = client.messages.create(**(ASKED | {"messages": history, "max_tokens": 8}))
    assert answer.content


def test_a_schema(client: anthropic.Anthropic) -> None:
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = client.messages.create(**(ASKED | {"max_tokens": 100, "output_config": form}))
    (block,) = message.content
    assert block.type == "text"
    assert json.loads(block.text)["size"] in (1, 2, 5)
    assert message.stop_reason == "end_turn"


def test_a_full_context(client: anthropic.Anthropic) -> None:
    long = [{"role": "user", "content": "Sort a list of numbers. " * 140}]
    message = client.messages.create(**(ASKED | {"messages": long, "max_tokens": 1000}))
    assert message.stop_reason == "model_context_window_exceeded"
    assert 0 < message.usage.output_tokens < 1000


def test_the_prompt_is_counted(client: anthropic.Anthropic) -> None:
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    counted = client.messages.count_tokens(
        model="any", messages=MESSAGES, system=system, tools=[TOOL]
    )
    message = client.messages.create(**ASKED, system=system, tools=[TOOL])
    assert counted.input_tokens == n_read(message.usage)
    assert (
        counted.input_tokens
        > client.messages.count_tokens(model="any", messages=MESSAGES).input_tokens
    )


def test_the_messages_of_a_long_chat() -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "c"},
            {"type": "text", "text": "C"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": "ä"}},
            {"type": "tool_use", "id": "t2", "name": "f", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1",
             "content": [{"type": "text", "text": "1"}]},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": "no"},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain",
                                            "data": "d"}},
            {"type": "text", "text": "e"}]},
        {"role": "system", "content": "later"},
    ]  # fmt: skip
    told = arguments(messages=messages, system="s")["messages"]
    calls = [
        {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x": "ä"}'}},
        {"id": "t2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]
    assert told == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "c\nC", "reasoning_content": "hm", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "t1", "content": "1"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
        {"role": "user", "content": "d\ne"},
        {"role": "system", "content": "later"},
    ]


def found(*texts: str) -> dict[str, Any]:
    """A result of a search, which a client's own search gives."""
    content = [{"type": "text", "text": text} for text in texts]
    return {"type": "search_result", "title": "T", "source": "s.md", "content": content}


def test_results_of_a_search_are_text() -> None:
    asked = [{"role": "user", "content": [found("a", "b"), {"type": "text", "text": "Why?"}]}]
    assert arguments(messages=asked)["messages"] == [
        {"role": "user", "content": "T\ns.md\na\nb\nWhy?"}
    ]
    (told,) = arguments(**result([found("a"), found("b")]))["messages"]
    assert told["content"] == "T\ns.md\na\nT\ns.md\nb"


def test_a_document_has_its_title_its_context_and_its_text() -> None:
    text = {"type": "text", "media_type": "text/plain", "data": "d"}
    named = {"type": "document", "source": text, "title": "Notes", "context": "of May"}
    blocks = {"type": "content", "content": [{"type": "text", "text": "1"}]}
    whole = {"type": "content", "content": "2"}
    content = [named, {"type": "document", "source": blocks}, {"type": "document", "source": whole}]
    (told,) = arguments(messages=[{"role": "user", "content": content}])["messages"]
    assert told["content"] == "Notes\nof May\nd\n1\n2"


def test_nothing_is_said() -> None:
    empty = [{"role": "user", "content": []}]
    assert arguments(messages=empty)["messages"] == [{"role": "user", "content": ""}]
    (told,) = arguments(**result(None))["messages"]
    assert told == {"role": "tool", "tool_call_id": "1", "content": ""}


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ([{"type": "text", "text": BILLING}, {"type": "text", "text": "Be brief."}], "Be brief."),
        (f"{BILLING}\nBe brief.", "Be brief."),
        (f"Be brief.\n{BILLING}\nAnd kind.", "Be brief.\nAnd kind."),
        ([{"type": "text", "text": BILLING}], None),
        (BILLING, None),
        ("Be brief.\n", "Be brief.\n"),
        ([{"type": "text", "text": f"Say {BILLING}"}], f"Say {BILLING}"),
    ],
)
def test_what_differs_in_every_request_is_no_part_of_the_prompt(system: Any, told: Any) -> None:
    """Claude Code puts it first, so that nothing of the prompt could be used again."""
    expected = [] if told is None else [{"role": "system", "content": told}]
    assert arguments(system=system)["messages"] == [*expected, *MESSAGES]


def test_such_a_header_is_not_counted(client: anthropic.Anthropic) -> None:
    def count(*texts: str) -> int:
        system: Any = [{"type": "text", "text": text} for text in texts]
        counted = client.messages.count_tokens(model="any", messages=MESSAGES, system=system)
        return counted.input_tokens

    assert count(BILLING, "Be brief.") == count("Be brief.")


def test_tools_of_anthropics_servers_are_left_out(server: Running) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    body = {"messages": MESSAGES, "max_tokens": 2, "tools": [search, TOOL]}
    (tool,) = message_call(MessageFields.model_validate(body)).arguments["tools"]
    assert tool["function"]["name"] == "measure"
    reply = server.client.post("/v1/messages", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-ignored-fields"] == "tools[0]"
    reply = server.client.post("/v1/messages", json=body | {"tools": [search]})
    assert reply.status_code == 200, reply.text


def test_blocks_of_other_tools_are_left_out(server: Running) -> None:
    """What tools did that ran on Anthropic's servers; clients send it in later turns."""
    search = {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srv", "content": []}
    others = [
        {"type": "mcp_tool_use", "id": "m", "name": "f", "server_name": "s", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "m", "content": []},
        {"type": "bash_code_execution_tool_result", "tool_use_id": "b", "content": {}},
    ]
    said = {"type": "text", "text": "So."}
    history = [
        *MESSAGES,
        {"role": "assistant", "content": [search, found, said, *others]},
        {"role": "user", "content": [found, {"type": "text", "text": "y"}]},
    ]
    told = arguments(messages=history)["messages"]
    assert told[1:] == [{"role": "assistant", "content": "So."}, {"role": "user", "content": "y"}]
    body = {"messages": history, "max_tokens": 2}
    reply = server.client.post("/v1/messages", json=body)
    assert reply.status_code == 200, reply.text
    places = [(1, 0), (1, 1), (1, 3), (1, 4), (1, 5), (2, 0)]
    names = ", ".join(f"messages[{i}].content[{j}]" for i, j in places)
    assert reply.headers["x-ignored-fields"] == names
    counted = server.client.post("/v1/messages/count_tokens", json={"messages": history})
    assert counted.status_code == 200, counted.text


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "image", "source": {"type": "base64", "data": ""}}, "image"),
        ({"type": "document", "source": {"type": "base64", "data": ""}}, "document"),
        ({"type": "tool_reference", "tool_name": "f"}, "tool_reference"),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "image"}]}},
            "image",
        ),
    ],
)
def test_what_is_no_text_in_results_is_told_of(block: dict[str, Any], text: str) -> None:
    """Claude Code reads images by a tool, and sends the result in every later turn."""
    (told,) = arguments(**result([{"type": "text", "text": "plot"}, block]))["messages"]
    assert told["content"] == f"plot\n[{text}: this model reads text only]"


def test_no_token_reads_the_prompt_only(client: anthropic.Anthropic) -> None:
    asked = ASKED | {"max_tokens": 0}
    message = client.messages.create(**asked)
    assert (message.content, message.stop_reason) == ([], "max_tokens")
    assert message.usage.output_tokens == 0
    assert n_read(message.usage) > 0
    with client.messages.create(**asked, stream=True) as stream:
        events = list(stream)
    assert [event.type for event in events] == ["message_start", "message_delta", "message_stop"]
    assert events[1].type == "message_delta"
    assert events[1].usage.output_tokens == 0
    assert events[1].delta.stop_reason == "max_tokens"


def test_the_fields() -> None:
    assert arguments(top_k=3, top_p=0.5)["top_k"] == 3
    assert arguments(stop_sequences=["x"])["stop"] == ["x"]
    kinds = {"enabled": True, "adaptive": True, "between_tools": True, "disabled": False}
    for kind, on in kinds.items():
        given = arguments(thinking={"type": kind, "budget_tokens": 2000})
        assert given["chat_template_kwargs"] == {"enable_thinking": on}
    tools = [TOOL | {"type": "custom", "cache_control": {"type": "ephemeral"}, "strict": True}]
    given = arguments(tools=tools, tool_choice={"type": "any", "disable_parallel_tool_use": True})
    function = {"name": "measure", "description": "Measure a part.", "parameters": SCHEMA,
                "strict": True}  # fmt: skip
    assert given["tools"] == [{"type": "function", "function": function}]
    assert (given["tool_choice"], given["parallel_tool_calls"]) == ("required", False)
    given = arguments(output_config={"effort": "low"})
    assert given["chat_template_kwargs"] == {"reasoning_effort": "low"}
    given = arguments(output_config={"effort": "low"}, reasoning_effort="low")
    assert given["chat_template_kwargs"] == {"reasoning_effort": "low"}
    harmless = {"metadata": {"user_id": "u"}, "service_tier": "auto", "betas": ["x"]}
    body = {"messages": MESSAGES, "max_tokens": 5, **harmless, "colour": "red"}
    assert message_call(MessageFields.model_validate(body)).unknown == ["colour"]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role is 'robot'"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]},
         "messages[0].content[0].type is 'image'"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]},
         "messages[0].content[0].tool_use_id must be a text"),
        ({"messages": [{"role": "assistant", "content": [
            {"type": "tool_use", "id": "1", "name": "f", "input": "{}"}]}]},
         "messages[0].content[0].input must be an object"),
        ({"messages": [{"role": "user", "content": [found("a") | {"source": None}]}]},
         "messages[0].content[0].source must be a text"),
        ({"messages": [{"role": "user", "content": [found("a") | {"content": [found("b")]}]}]},
         "messages[0].content[0].content[0].type is 'search_result'"),
        (result([found("a") | {"content": [found("b") | {"type": "x" * 50}]}]),
         "messages[0].content[0].content[0].content[0].type is 'xxx"),
        (result(["text"]), "messages[0].content[0].content[0] must be an object with a type"),
        (result({"type": "text", "text": "x"}), "messages[0].content[0].content must be a text or"),
        (result(5), "messages[0].content[0].content must be a text or a list of blocks"),
        ({"tools": [{"type": 3, "name": "f"}]}, "tools[0].type must be a text"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}],
          "tool_choice": {"type": "tool", "name": "web_search"}}, "names 'web_search'"),
        ({"system": [{"type": "text", "text": BILLING}, {"type": "image"}]},
         "system[1].type is 'image'"),
        ({"tools": [TOOL], "tool_choice": {"type": "robot"}}, "tool_choice.type is 'robot'"),
        ({"tools": [TOOL], "tool_choice": {"type": ["auto"]}}, "tool_choice.type is ['auto']"),
        ({"thinking": {"type": "loud"}}, "thinking.type is 'loud'"),
        ({"output_format": {"type": "xml"}}, "output_format must be"),
        ({"stop": ["a"], "stop_sequences": ["b"]}, "stop_sequences and stop"),
        ({"n": 2}, "n is 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named(server: Running, fields: dict[str, Any], what: str) -> None:
    body = {"messages": MESSAGES, "max_tokens": 5, **fields}
    reply = server.client.post("/v1/messages", json=body)
    told = reply.json()
    assert (reply.status_code, told["type"]) == (400, "error")
    assert told["error"]["type"] == "invalid_request_error"
    assert what in told["error"]["message"]


def test_a_key_is_needed(server: Running) -> None:
    body = {"messages": MESSAGES, "max_tokens": 1}
    for headers in ({}, {"x-api-key": "wrong"}):
        reply = httpx.post(f"{server.url}/v1/messages", json=body, headers=headers, timeout=120)
        assert (reply.status_code, reply.json()["type"]) == (401, "error")
        assert reply.json()["error"]["type"] == "authentication_error"
    with anthropic.Anthropic(base_url=server.url, auth_token=KEY, max_retries=0) as client:
        assert client.messages.create(**ASKED).content


def test_errors_have_the_form_of_their_interface() -> None:
    error = QueueFull(3, 2, kept=False)
    assert message_error(error)["error"]["type"] == "rate_limit_error"
    assert message_error(ApiError(500, "x"))["error"]["type"] == "api_error"
    bodies = {path: json.loads(bytes(error_response(error, path).body))
              for path in ("/api/chat", "/v1/messages", "/v1/completions")}  # fmt: skip
    assert bodies["/api/chat"] == {"error": error.message}
    assert bodies["/v1/messages"] == message_error(error)
    assert bodies["/v1/completions"] == error.content
    long = from_exception(ContextOverflow("it has 9 tokens"))
    words = "prompt is too long: it has 9 tokens"  # clients look for them
    assert message_error(long)["error"]["message"] == words
    told = MessageForm(5).error(error)
    assert told.startswith(b"event: error\n")
    assert json.loads(told.partition(b"data: ")[2]) == message_error(error)
