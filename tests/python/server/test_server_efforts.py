"""An effort that the chat template refuses is left out and named; every other error stays one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_support import Running, serving

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# It knows two efforts, refuses others, and refuses messages that shout.
TEMPLATE = """\
{# <tool_call> #}\
{% if reasoning_effort is defined and reasoning_effort not in ['low', 'high'] %}\
{{ raise_exception('no effort ' ~ reasoning_effort) }}{% endif %}\
{% if tools and reasoning_effort == 'low' %}{{ raise_exception('too low for tools') }}{% endif %}\
{% for m in messages %}{% if 'HEY' in m.content %}{{ raise_exception('no shouting') }}{% endif %}\
# {{ m.role }}: {{ m.content }}
{% endfor %}effort {{ reasoning_effort or 'unset' }}, thinking {{ enable_thinking }}
{% if add_generation_prompt %}# assistant:
{% endif %}"""
MESSAGES = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "f"}}]
CHAT, RESPONSES, ANTHROPIC = "/v1/chat/completions", "/v1/responses", "/v1/messages"

# For each endpoint: a body, the fields of an effort, and the name of the field.
WAYS: dict[str, tuple[str, dict[str, Any], Any, str]] = {
    "chat": (CHAT, {"messages": MESSAGES, "max_tokens": 2},
             lambda effort: {"reasoning_effort": effort}, "reasoning_effort"),
    "chat, as an object": (CHAT, {"messages": MESSAGES, "max_tokens": 2},
                           lambda effort: {"reasoning": {"effort": effort}}, "reasoning.effort"),
    "responses": (RESPONSES, {"input": "hello", "max_output_tokens": 2},
                  lambda effort: {"reasoning": {"effort": effort, "summary": "auto"}},
                  "reasoning.effort"),
    "messages": (ANTHROPIC, {"messages": MESSAGES, "max_tokens": 2},
                 lambda effort: {"output_config": {"effort": effort},
                                 "thinking": {"type": "adaptive"}}, "output_config.effort"),
    "ollama": ("/api/chat", {"messages": MESSAGES, "options": {"num_predict": 2}},
               lambda effort: {"think": effort}, "think"),
    "ollama, a prompt": ("/api/generate", {"prompt": "hello", "options": {"num_predict": 2}},
                         lambda effort: {"think": effort}, "think"),
}  # fmt: skip
EVERY = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def server(pair: tuple[Path, Path]) -> Iterator[Running]:
    options: dict[str, Any] = {"n_ctx": 512, "measure_costs": False, "n_threads": 1}
    with Engine(*pair, chat_template=TEMPLATE, **options) as engine, serving(engine) as running:
        yield running


def ignored(reply: Any) -> str | None:
    assert reply.status_code == 200, reply.text
    name: str | None = reply.headers.get("x-ignored-fields")
    return name


@EVERY
@pytest.mark.parametrize("stream", [False, True])
def test_an_effort_that_the_template_refuses_is_left_out(
    server: Running, way: str, stream: bool
) -> None:
    path, body, with_effort, name = WAYS[way]
    for effort in ("minimal", "xhigh", "max"):
        reply = server.client.post(path, json=body | with_effort(effort) | {"stream": stream})
        assert ignored(reply) == name
        assert "no effort" not in reply.text


@EVERY
def test_an_effort_that_the_template_takes_is_kept(server: Running, way: str) -> None:
    path, body, with_effort, _ = WAYS[way]
    for effort in ("low", "high"):
        assert ignored(server.client.post(path, json=body | with_effort(effort))) is None


@EVERY
def test_other_errors_of_the_template_stay(server: Running, way: str) -> None:
    path, body, with_effort, _ = WAYS[way]
    loud = {name: "HEY" if name in ("input", "prompt") else value for name, value in body.items()}
    if "messages" in body:
        loud["messages"] = [{"role": "user", "content": "HEY"}]
    for effort, words in (("high", "no shouting"), ("max", "no effort max")):
        reply = server.client.post(path, json=loud | with_effort(effort))
        assert reply.status_code == 400
        assert words in reply.text


def prompt(server: Running, **fields: Any) -> str:
    reply = server.client.post("/apply-template", json={"messages": MESSAGES, **fields})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["prompt"])


def tokens(server: Running, text: str) -> list[int]:
    body = {"content": text, "add_special": True, "parse_special": True}
    found: list[int] = server.client.post("/tokenize", json=body).json()["tokens"]
    return found


def test_what_the_template_gets(server: Running) -> None:
    assert "effort high, thinking \n" in prompt(server, reasoning_effort="high")
    assert "effort unset, thinking \n" in prompt(server, reasoning_effort="xhigh")
    # The switch that belongs to this effort stays.
    assert "effort unset, thinking False" in prompt(server, reasoning_effort="none")
    assert "effort low" in prompt(server, reasoning_effort="low")
    assert "effort unset" in prompt(server, reasoning_effort="low", tools=TOOLS)


def test_the_whole_request_decides(server: Running) -> None:
    body = {"messages": MESSAGES, "max_tokens": 2, "reasoning_effort": "low"}
    assert ignored(server.client.post(CHAT, json=body)) is None
    assert ignored(server.client.post(CHAT, json=body | {"tools": TOOLS})) == "reasoning_effort"
    both = body | {"reasoning_effort": "max", "colour": "red"}
    assert ignored(server.client.post(CHAT, json=both)) == "colour, reasoning_effort"
    again = body | {"reasoning_effort": "max", "n": 2}
    assert ignored(server.client.post(CHAT, json=again)) == "reasoning_effort"
    begun = [*MESSAGES, {"role": "assistant", "content": "So"}]
    continued = {"messages": begun, "continue_final_message": True, "reasoning_effort": "max"}
    assert ignored(server.client.post(CHAT, json=body | continued)) == "reasoning_effort"


def test_a_variable_of_the_template_is_no_effort(server: Running) -> None:
    """The client knows the template, so it gets the template's own words."""
    body = {"messages": MESSAGES, "max_tokens": 2}
    variables: dict[str, Any] = {"chat_template_kwargs": {"reasoning_effort": "max"}}
    for fields in (variables, variables | {"reasoning_effort": "high"}):
        reply = server.client.post(CHAT, json=body | fields)
        assert reply.status_code == 400
        assert "no effort max" in reply.text
    fields = {"chat_template_kwargs": {"reasoning_effort": "low"}, "reasoning_effort": "max"}
    assert ignored(server.client.post(CHAT, json=body | fields)) is None


def test_tokens_are_counted_without_a_refused_effort(server: Running) -> None:
    path = "/v1/messages/count_tokens"
    plain = server.client.post(path, json={"messages": MESSAGES})
    for refused in ({"reasoning_effort": "max"}, {"output_config": {"effort": "max"}}):
        reply = server.client.post(path, json={"messages": MESSAGES, **refused})
        assert reply.status_code == 200, reply.text
        assert reply.json() == plain.json()


def test_tokens_are_counted_with_an_effort_that_the_template_writes(server: Running) -> None:
    for effort in ("low", "high"):
        body = {"messages": MESSAGES, "output_config": {"effort": effort}}
        counted = server.client.post("/v1/messages/count_tokens", json=body)
        assert counted.status_code == 200, counted.text
        asked = server.client.post(ANTHROPIC, json=body | {"max_tokens": 1})
        usage = asked.json()["usage"]
        n_read = usage["input_tokens"] + usage["cache_read_input_tokens"]
        assert counted.json() == {"input_tokens": n_read}
        assert n_read == len(tokens(server, prompt(server, reasoning_effort=effort)))


def test_wrong_fields_are_named_beside_an_effort(server: Running) -> None:
    body = {"messages": MESSAGES, "reasoning_effort": "max", "tools": TOOLS}
    choice = {"type": "function", "function": {"name": "g"}}
    reply = server.client.post(CHAT, json=body | {"tool_choice": choice})
    assert reply.status_code == 400
    assert "tool_choice" in reply.text
