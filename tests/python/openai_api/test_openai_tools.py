"""Tools: described, chosen, and found again in what the model writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tool_templates import SOURCES

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.openai_api.prompts import format_of
from specbranch_cpp.openai_api.templates import ChatTemplate

if TYPE_CHECKING:
    from pathlib import Path

HELLO = [{"role": "user", "content": "hello"}]
COLOR = {"enum": ["red", "green"]}
PAINT = {
    "type": "object",
    "properties": {"color": {"$ref": "#/$defs/color"}, "twice": {"type": "boolean"}},
    "required": ["color"],
    "$defs": {"color": COLOR},
}
WAIT = {"type": "object", "properties": {"color": {"type": "boolean"}}, "required": ["color"]}
TOOLS = [
    {"type": "function", "function": {"name": "paint", "description": "it", "parameters": PAINT}},
    {"type": "function", "function": {"name": "wait", "parameters": WAIT}},
    {"type": "function", "function": {"name": "stop"}},
]
SCHEMAS = {"paint": PAINT, "wait": WAIT, "stop": {"maxProperties": 0}}


@pytest.fixture(scope="module", params=SOURCES)
def tooled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An engine with a template of each kind; markers are control tokens where they are so."""
    folder = tmp_path_factory.mktemp("tools")
    options: dict[str, Any] = {
        "weight_type": "Q8_0",
        "sharpness": 1.0,
        "metadata": {"tokenizer.chat_template": SOURCES[request.param]},
        "control_tokens": ("[TOOL_CALLS]", "[ARGS]", "<|python_tag|>"),
        "context_length": 2048,
    }
    target = write_tiny_gguf(folder / "target.gguf", **options)
    draft = write_tiny_gguf(folder / "draft.gguf", **options, n_layer=1)
    with Engine(target, draft, n_ctx=2048, n_threads=1, draft_n_threads=1) as engine:
        yield engine


def chat(engine: Engine, **options: Any) -> Any:
    defaults = {"tools": TOOLS, "max_tokens": 200, "temperature": 1.0}
    return engine.create_chat_completion(HELLO, **{**defaults, **options})


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "paint"}}]
)
def test_a_forced_call_follows_the_schema(tooled: Engine, choice: Any) -> None:
    names = set()
    for seed in range(8):
        mode = ("autoregressive", "specbranch")[seed % 2]
        choices = chat(tooled, tool_choice=choice, seed=seed, mode=mode)["choices"]
        message = choices[0]["message"]
        assert choices[0]["finish_reason"] == "tool_calls"
        assert message["content"] is None
        (call,) = message["tool_calls"]
        assert call["type"] == "function"
        assert len(call["id"]) == 9
        name = call["function"]["name"]
        jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMAS[name])
        names.add(name)
    assert names == {"paint"} if isinstance(choice, dict) else len(names) > 1


def test_a_stream_brings_calls_as_deltas(tooled: Engine) -> None:
    options = {"tool_choice": "required", "seed": 3}
    message = chat(tooled, **options)["choices"][0]["message"]
    chunks = [chunk["choices"][0] for chunk in chat(tooled, **options, stream=True)]
    assert chunks[0]["delta"] == {"role": "assistant"}
    assert chunks[-1]["delta"] == {}
    assert chunks[-1]["finish_reason"] == "tool_calls"
    pieces = [piece for chunk in chunks[1:-1] for piece in chunk["delta"]["tool_calls"]]
    assert {piece["index"] for piece in pieces} == {0}
    assert [piece["id"] for piece in pieces if "id" in piece] == [pieces[0]["id"]]
    (call,) = message["tool_calls"]
    assert pieces[0]["function"] == {"name": call["function"]["name"], "arguments": ""}
    arguments = "".join(piece["function"]["arguments"] for piece in pieces)
    assert arguments == call["function"]["arguments"]


def test_several_forced_calls_if_asked_for(tooled: Engine) -> None:
    answers = (
        chat(tooled, tool_choice="required", parallel_tool_calls=True, seed=seed)["choices"][0]
        for seed in range(24)
    )
    assert any(
        answer["finish_reason"] == "tool_calls" and len(answer["message"]["tool_calls"]) > 1
        for answer in answers
    )


def test_the_old_names(tooled: Engine) -> None:
    functions = [tool["function"] for tool in TOOLS]
    answer = chat(tooled, tools=None, functions=functions, function_call={"name": "stop"})
    message = answer["choices"][0]["message"]
    assert message["function_call"] == {"name": "stop", "arguments": "{}"}
    assert message["tool_calls"][0]["function"] == message["function_call"]


def test_free_text_is_content(tooled: Engine) -> None:
    plain = chat(tooled, tools=None, seed=1)["choices"]
    assert chat(tooled, tool_choice="none", seed=1)["choices"] == plain
    free = chat(tooled, tool_choice="auto", seed=1)["choices"][0]
    streamed = [chunk["choices"][0] for chunk in chat(tooled, seed=1, stream=True)]
    text = "".join(chunk["delta"].get("content", "") for chunk in streamed)
    assert text == free["message"]["content"]
    assert free["finish_reason"] in {"stop", "length"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": 3}, "must be a sequence"),
        ({"tools": [3]}, r"tools\[0\]"),
        ({"tools": [{"type": "browser"}]}, "of type 'function'"),
        ({"tools": [{"type": "function", "function": {}}]}, "must be a str"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "two functions with the same name"),
        ({"tools": None, "tool_choice": "required"}, "no tools are given"),
        ({"tool_choice": "paint"}, "must be 'none', 'auto'"),
        ({"tool_choice": {"function": {"name": "fly"}}}, "names 'fly'"),
        ({"parallel_tool_calls": 1}, "must be True or False"),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "parameters": {"not": {}}, "strict": True},
                    }
                ],
                "tool_choice": "required",
            },
            r"the schema of 'f' cannot be enforced: .*\"not\"",
        ),
    ],
)
def test_tools_are_checked(engine: Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        chat(engine, **options)


CALLED = [
    *HELLO,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "abcdefghi",
                "type": "function",
                "function": {"name": "paint", "arguments": '{"color": "red"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "abcdefghi", "content": "done"},
]
CALLS = "{% for m in messages %}{{ m.role }}{% for c in m.tool_calls %}"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            CALLS + "{{ c.function.arguments | tojson }}{% endfor %},{% endfor %}{{ tools }}",
            'user,assistant{"color": "red"},tool,None',
        ),
        (
            CALLS + "{{ c.function.arguments }}{% endfor %},{% endfor %}{{ tools }}",
            'user,assistant{"color": "red"},tool,None',
        ),
        (
            CALLS + "{{ '=' + c.function.arguments }}{% endfor %},{% endfor %}{{ tools }}",
            'user,assistant={"color": "red"},tool,None',
        ),
        (
            "{% for m in messages %}{{ m.role }}={{ m.content }}\n{% endfor %}",
            (
                "user=hello\nassistant=<tool_call>\n"
                '{"name": "paint", "arguments": {"color": "red"}}\n</tool_call>\n'
                "user=<tool_response>\ndone\n</tool_response>\n"
            ),
        ),
    ],
)
def test_calls_and_results_are_told_as_the_template_wants(
    tiny: Path, source: str, text: str
) -> None:
    with Engine(tiny, n_ctx=128, chat_template=source) as other:
        prompt = format_of(other).prompt(other, plain_messages(CALLED))
        assert other.detokenize(prompt[1:]) == text


def test_a_template_without_tools_gets_a_description(tiny: Path) -> None:
    for messages in (HELLO, [{"role": "system", "content": "Be brief."}, *HELLO]):
        with Engine(tiny, n_ctx=2048, chat_template=SOURCES["none"]) as engine:
            prompt = format_of(engine).prompt(engine, plain_messages(messages), tools=TOOLS)
            text = engine.detokenize(prompt[1:])
        assert text.count("system: ") == 1
        assert json.dumps(TOOLS[0]) in text
        assert ("Be brief." in text) == (len(messages) == 2)


def test_what_reads_tools_is_recognised() -> None:
    assert ChatTemplate(SOURCES["hermes"]).reads_tools
    assert ChatTemplate(
        "{% if not tools is defined %}{% set tools = none %}{% endif %}"
    ).reads_tools
    assert not ChatTemplate("You have no tools. {# tools #}").reads_tools
