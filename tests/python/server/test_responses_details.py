"""Log-probabilities and tokens of thoughts at ``/v1/responses``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests.python.support.scripted import make_engine, script, template_with
from tests.python.support.server_support import Running, serving, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp import Engine

MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
TEMPLATE = template_with(MARKS)
TOOL: Any = {"type": "function", "name": "get", "parameters": {"type": "object"}, "strict": False}
CALL = '<tool_call>{"name": "get", "arguments": {"a": "t, t"}}</tool_call>'
LOGPROBS: Any = ["message.output_text.logprobs"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with make_engine(tmp_path_factory.mktemp("model"), TEMPLATE, MARKS) as engine:
        yield engine


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[Running]:
    with serving(engine, request_timeout_s=60) as running:
        yield running


def text_of(scores: Any) -> str:
    return b"".join(bytes(one.bytes) for one in scores).decode()


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        ("", "Yes, sir.", ""),
        ("<think>So be it.</think>\n\n", "Yes, sir.", ""),
        ("<think>t t t</think>\n\n", "t", ""),  # also a letter of the mark
        ("<think>So be it.</think>\n\n", "Größe: 5 µm\nor so", ""),
        ("", "t, t\n", CALL),
        ("<think>So be it.</think>", "", CALL),
    ],
)
def test_the_text_has_its_scores(
    client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch, before: str, text: str,
    after: str,
) -> None:  # fmt: skip
    script(monkeypatch, engine, before + text + after, MARKS)
    asked: Any = {
        "model": "any", "input": "x", "include": LOGPROBS, "top_logprobs": 2, "tools": [TOOL],
    }  # fmt: skip
    whole = client.responses.create(**asked)
    assert whole.top_logprobs == 2
    assert whole.output_text == text.rstrip()
    with client.responses.create(**asked, stream=True) as stream:
        events = list(stream)
    last = events[-1]
    assert last.type == "response.completed"
    for response in (whole, last.response):
        parts = [item.content[0] for item in response.output if item.type == "message"]
        assert len(parts) == bool(text)
        for part in parts:
            assert part.type == "output_text"
            assert part.logprobs
            assert text_of(part.logprobs).strip() == part.text
            assert all(len(one.top_logprobs) == 2 for one in part.logprobs)
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    done = [event for event in events if event.type == "response.output_text.done"]
    assert "".join(one.delta for one in deltas).rstrip() == text.rstrip()
    told_of = [score.token for one in deltas for score in one.logprobs]
    assert told_of == [score.token for one in done for score in one.logprobs]
    if text:
        (part,) = (item.content[0] for item in last.response.output if item.type == "message")
        assert told_of == [score.token for score in part.logprobs]


@pytest.mark.parametrize(("before", "after"), [("", CALL), (CALL, "")])
def test_a_letter_of_a_mark_has_its_own_scores(
    client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    script(monkeypatch, engine, f"{before}l{after}", MARKS)
    function = {name: value for name, value in TOOL.items() if name != "type"}
    in_chat: Any = {"tools": [{"type": "function", "function": function}], "logprobs": True}
    messages: Any = [{"role": "user", "content": "x"}]
    (choice,) = client.chat.completions.create(model="any", messages=messages, **in_chat).choices
    assert choice.logprobs is not None
    entries = choice.logprobs.content or []
    expected = entries[-1 if before else 0]
    assert expected.token == "l"
    asked: dict[str, Any] = {"model": "any", "input": "x", "include": LOGPROBS, "tools": [TOOL]}
    with client.responses.create(**asked, stream=True) as stream:
        *_, last = stream
    for response in (client.responses.create(**asked), last.response):
        ((part,),) = (item.content for item in response.output if item.type == "message")
        assert [(one.token, one.logprob) for one in part.logprobs] == [("l", expected.logprob)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thought", ["", "So be it."])
def test_thoughts_are_counted(
    client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch, thought: str,
    stream: bool,
) -> None:  # fmt: skip
    before = f"<think>{thought}</think>\n\n" if thought else ""
    script(monkeypatch, engine, f"{before}Yes, sir.", MARKS)
    asked: Any = {"model": "any", "input": "x"}
    if stream:
        with client.responses.create(**asked, stream=True) as events:
            *_, last = events
        response = last.response
    else:
        response = client.responses.create(**asked)
    n = response.usage.output_tokens_details.reasoning_tokens
    if thought:
        n_tokens = len(engine.tokenize(thought, add_bos=False))
        assert n_tokens <= n <= n_tokens + 1 < response.usage.output_tokens
    else:
        assert n == 0


def test_who_asks_for_none_gets_none(
    client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, "Yes.")
    included: Any = ["reasoning.encrypted_content"]
    for more in ({}, {"top_logprobs": 0}, {"include": included}):
        response = client.responses.create(model="any", input="x", **more)
        (item,) = response.output
        assert item.type == "message"
        (part,) = item.content
        assert part.type == "output_text"
        assert part.logprobs == []


def test_one_of_both_is_enough(
    client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, "Yes.")
    for more, n_top in (({"include": LOGPROBS}, 0), ({"top_logprobs": 3}, 3)):
        response: Any = client.responses.create(model="any", input="x", **more)
        scores = response.output[0].content[0].logprobs
        assert text_of(scores) == "Yes."
        assert {len(one.top_logprobs) for one in scores} == {n_top}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": "5"}, "top_logprobs"),
        ({"include": "x"}, "include"),
        ({"include": LOGPROBS, "logprobs": False}, "include"),
        ({"stream": True, "stream_options": 5}, "stream_options"),
    ],
)
def test_what_is_wrong_is_named(server: Running, fields: dict[str, Any], param: str) -> None:
    reply = server.client.post("/v1/responses", json={"input": "x", **fields})
    assert told(reply, 400, reply.json()["error"]["code"])["param"] == param
