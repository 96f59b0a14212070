"""``tools`` together with ``response_format``, and formats of completions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tool_templates import SOURCES

from specbranch_cpp import Engine
from specbranch_cpp._grammar.rule_book import RuleBook

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = [{"role": "user", "content": "hello"}]
PAINT = {"type": "object", "properties": {"color": {"enum": ["red"]}}, "required": ["color"]}
NOT_ONE = {"type": "string", "not": {"const": "1"}}
HARD = {"type": "object", "properties": {"x": NOT_ONE}, "required": ["x"]}
TOOLS = [
    {"type": "function", "function": {"name": "paint", "parameters": PAINT, "strict": True}},
    {"type": "function", "function": {"name": "hard", "parameters": HARD, "strict": True}},
    {"type": "function", "function": {"name": "stop"}},
]
ANSWER = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": ANSWER, "strict": True}}


@pytest.fixture(scope="module", params=["hermes", "llama", "mistral", "none"])
def tooled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    target = write_tiny_gguf(
        tmp_path_factory.mktemp("format") / "target.gguf",
        weight_type="Q8_0",
        sharpness=1.0,
        metadata={"tokenizer.chat_template": SOURCES[request.param]},
        context_length=2048,
    )
    with Engine(target, n_ctx=2048, n_threads=1, measure_costs=False) as engine:
        yield engine


def messages(engine: Engine, **options: Any) -> Iterator[dict[str, Any]]:
    """The complete answers of several seeds."""
    given = {"tools": TOOLS, "response_format": FORMAT, "max_tokens": 300, "temperature": 1.5}
    for seed in range(16):
        answer: Any = engine.create_chat_completion(HELLO, seed=seed, **{**given, **options})
        choice = answer["choices"][0]
        if choice["finish_reason"] != "length":
            yield choice["message"]


def test_the_answer_is_a_call_or_json(tooled: Engine) -> None:
    kinds = set()
    for message in messages(tooled):
        if "tool_calls" in message:
            kinds.add("call")
            for one in message["tool_calls"]:
                arguments = json.loads(one["function"]["arguments"])
                assert isinstance(arguments, dict)
                if one["function"]["name"] == "paint":
                    jsonschema.validate(arguments, PAINT)
        else:
            kinds.add("json")
            jsonschema.validate(json.loads(message["content"]), ANSWER)
    assert kinds == {"call", "json"}


def test_no_call_is_json_and_a_forced_call_is_a_call(tooled: Engine) -> None:
    for message in messages(tooled, tool_choice="none"):
        jsonschema.validate(json.loads(message["content"]), ANSWER)
    forced = {"type": "function", "function": {"name": "paint"}}
    for message in messages(tooled, tool_choice=forced):
        assert message["tool_calls"][0]["function"]["name"] == "paint"


def test_plain_text_stays_free_beside_tools(tooled: Engine) -> None:
    for message in messages(tooled, response_format={"type": "text"}, max_tokens=4):
        assert message


@pytest.mark.parametrize("response_format", [FORMAT, {"type": "json_object"}])
def test_a_completion_may_have_a_format(engine: Engine, response_format: Any) -> None:
    answer: Any = engine.create_completion(
        "x = ", response_format=response_format, max_tokens=60, seed=2
    )
    choice = answer["choices"][0]
    assert choice["text"].startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["text"]), dict)


def test_json_has_no_screen_of_blanks_and_no_half_characters(engine: Engine) -> None:
    likely = {engine.tokenize(c, add_bos=False)[0]: 25.0 for c in ("\n", " ", "\t", "}")}
    for bias in (likely, {**likely, engine.tokenize("}", add_bos=False)[0]: 40.0}):
        answer: Any = engine.create_chat_completion(
            HELLO,
            response_format={"type": "json_object"},
            logit_bias=bias,
            max_tokens=100,
            temperature=1.0,
            seed=1,
        )
        choice = answer["choices"][0]
        text = choice["message"]["content"]
        assert choice["finish_reason"] == "stop"
        assert json.loads(text) is not None
        assert len(text) - len(text.rstrip()) <= 1


def test_grammars_with_the_same_names_do_not_mix(engine: Engine) -> None:
    one = 'root ::= "a" other\nother ::= [0-9]{2}\n'
    two = 'root ::= "b" other\nother ::= "other"\n'
    book = RuleBook()
    grammar = book.grammar(f"{book.include(one)} | {book.include(two)}")
    seen = set()
    for seed in range(12):
        done = engine.complete("x", grammar=grammar, seed=seed, temperature=3.0, max_tokens=12)
        assert done.text == "bother" or (done.text[0] == "a" and done.text[1:].isdigit())
        seen.add(done.text[0])
    assert seen == {"a", "b"}
