"""JSON schemas as grammars: what comes out is JSON that the schema accepts."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import jsonschema
import pytest
from tests.python.support.schemas import GOOD, check_texts

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp._grammar import json_schema
from specbranch_cpp._grammar.json_schema import MOST_PARTS, grammar_of
from specbranch_cpp.openai_api.response_format import schema_of_format

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = [{"role": "user", "content": "hello"}]

DEFS = {"$defs": {"a": {"type": "object", "properties": {"x": {"const": 1}}}}}
BAD: dict[str, tuple[Any, str]] = {
    "no schema": (3, "must be a JSON schema"),
    "false": (False, "must be a JSON schema"),
    "null": (None, "must be a JSON schema"),
    "kind": ({"type": "text"}, "'type'.*is 'text'"),
    "no kind": ({"type": []}, "is empty"),
    "kind of kinds": ({"type": [["string"]]}, "must be a str"),
    "lost": ({"$ref": "#/$defs/x"}, "'\\$defs' does not exist"),
    "elsewhere": ({"$ref": "https://example.com/x"}, "must begin with"),
    "reference": ({"$ref": 3}, "must begin with"),
    "beside": ({"anyOf": [{}], "enum": [1]}, "give only one of them"),
    "empty anyOf": ({"anyOf": []}, "must be a list"),
    "empty enum": ({"enum": []}, "must be a list"),
    "enum of another kind": ({"type": "string", "enum": [None, 1]}, "value None"),
    "not": ({"not": {}}, "'not'"),
    "if": ({"if": {}}, "'if'"),
    "properties": ({"properties": 3}, "must be a mapping"),
    "property": ({"properties": {"a": 3}}, r"\['properties'\]\['a'\]"),
    "empty name": ({"properties": {"": {}}}, "with the name ''"),
    "required": ({"type": "object", "required": [3]}, "must be a str"),
    "closed": ({"required": ["a"], "additionalProperties": False}, "does not allow"),
    "length": ({"minLength": -1}, "must be in"),
    "lengths": ({"minLength": 3, "maxLength": 2}, "at most maxLength"),
    "too long": ({"minLength": 10**7}, "at most 2000"),
    "tuple": ({"prefixItems": [{}], "minItems": 2}, "another number"),
    "pattern of another kind": ({"pattern": 3}, "must be a str"),
    "not a number": ({"const": float("nan")}, "not JSON"),
    "no JSON": ({"const": {1}}, "not JSON"),
    "beside a part of allOf": ({"allOf": [{"$ref": "#/$defs/a", "not": {}}, {}], **DEFS}, "'not'"),
    "items beside one": ({"allOf": [{"$ref": "#/$defs/a", "items": {}}, {}], **DEFS}, "'items'"),
    "another beside one": (
        {"allOf": [{"$ref": "#/$defs/a", "properties": {"x": {"const": 2}}}, {}], **DEFS},
        "another property 'x'",
    ),
    "part of allOf": ({"allOf": ["x", {}]}, "must be a schema"),
    "reference to a list": ({"$ref": ["#"]}, "must begin with"),
    "surrogate": ({"enum": ["\ud800"]}, "not JSON"),
    "allOf": ({"allOf": [{"type": "string"}, {"type": "object"}]}, "must be an object"),
    "no number": ({"type": "number", "minimum": 2, "maximum": 1}, "allows no number"),
    "no integer": (
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "allows no number",
    ),
    "no multiple": (
        {"type": "integer", "minimum": 1, "maximum": 2, "multipleOf": 5},
        "allows no number",
    ),
    "bound": ({"type": "integer", "minimum": "1"}, "must be a number"),
    "step": ({"type": "integer", "multipleOf": 0}, "must be above 0"),
}


@pytest.fixture(scope="module")
def random(tiny: Path) -> Iterator[Engine]:
    """Writes at random what a grammar allows."""
    with Engine(tiny, n_ctx=512, n_threads=1) as engine:
        yield engine


@pytest.mark.parametrize("name", GOOD)
def test_what_comes_out_is_accepted(random: Engine, name: str) -> None:
    schema = GOOD[name]
    # llama.cpp's grammars take some bytes for characters that are no UTF-8.
    check_texts(random, name, grammar_of(schema, "schema"), schema, is_utf8=False)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused(name: str) -> None:
    schema, reason = BAD[name]
    with pytest.raises(InvalidArgument, match=reason):
        grammar_of(schema, "schema")


def test_a_schema_without_an_end_is_refused(random: Engine) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        grammar_of(deep, "schema")
    for endless in (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"anyOf": [{"$ref": "#"}, {"type": "string"}]},
    ):
        with pytest.raises(InvalidArgument, match="recurses to the left"):
            random.complete("x", grammar=grammar_of(endless, "schema"))


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("minimum", {"minimum": 0}),  # the bound 0 counts, although it is false in Python
        ("maximum", {"enum": [1, 2], "maximum": 0}),
        ("exclusiveMinimum", {"type": "number", "exclusiveMinimum": 10**17}),
        ("multipleOf", {"type": "number", "multipleOf": 0.5}),
        ("multipleOf", {"type": "integer", "multipleOf": 1001}),
        ("uniqueItems", {"type": "array", "uniqueItems": True}),
        ("uniqueItems", {"items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 2}),
        ("maxProperties", {"type": "object", "maxProperties": 0}),
        ("format", {"type": "string", "format": "email"}),
        ("format", {"type": "string", "format": "date", "pattern": "^2"}),
        ("maxLength", {"type": "string", "format": "time", "maxLength": 9}),
    ],
)
def test_what_is_not_enforced_is_told(
    name: str, schema: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "specbranch_cpp"):
        grammar_of(schema, "schema")
    assert name in caplog.text
    with pytest.raises(InvalidArgument, match=name):
        grammar_of(schema, "schema", strict=True)


@pytest.mark.parametrize(
    "name", ["stars", "above zero", "share", "sevens", "fives between", "different"]
)
def test_bounds_are_enforced_in_strict_schemas(random: Engine, name: str) -> None:
    """The engine writes at random, so most numbers would be outside."""
    grammar = grammar_of(GOOD[name], "schema", strict=True)
    texts = set()
    for seed in range(20):
        done = random.complete("x", grammar=grammar, temperature=2.0, seed=seed, max_tokens=60)
        if done.finish_reason == "stop":
            jsonschema.validate(json.loads(done.text), GOOD[name])
            texts.add(done.text)
    assert len(texts) > 2


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "not a regular expression"),
        ("(?=a)b", "assert"),
        (r"(a)\1", "groupref"),
        ("a^b", " at, which a grammar cannot express"),
        ("a{3000}", "at most 2000"),
        (r"^\p{L}+$", "not a regular expression"),
    ],
)
def test_a_pattern_without_a_grammar_is_refused_or_told(
    random: Engine, pattern: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    schema = {"properties": {"x": {"pattern": pattern, "maxLength": 3}}, "required": ["x"]}
    with pytest.raises(
        InvalidArgument, match=rf"\['x'\] has a pattern without a grammar: .*{reason}"
    ):
        grammar_of(schema, "schema", strict=True)
    with caplog.at_level(logging.WARNING, "specbranch_cpp"):
        grammar = grammar_of(schema, "schema")
    assert "any string is allowed" in caplog.text
    done = random.complete("x", grammar=grammar, temperature=1.0, seed=1, max_tokens=60)
    assert len(json.loads(done.text)["x"]) <= 3


def test_what_is_beside_a_reference_in_all_of_is_enforced(random: Engine) -> None:
    parts = [{"$ref": "#/$defs/a", "description": "a", "required": ["x"]}, {"type": "object"}]
    grammar = grammar_of({"allOf": parts, **DEFS}, "schema", strict=True)
    for seed in range(5):
        done = random.complete("x", grammar=grammar, temperature=2.0, seed=seed, max_tokens=60)
        assert json.loads(done.text) == {"x": 1}


def test_bounds_that_say_nothing_are_no_bounds() -> None:
    nothing = {"minProperties": 0, "uniqueItems": False, "minimum": None}
    assert grammar_of({"type": "object", **nothing}, "schema", strict=True)


@pytest.mark.parametrize(
    ("pattern", "readable"),
    [("^(?<a>b+)$", "b+"), ("^\\u{1F600}$", "😀"), ("^\\cA$", "\x01"), ("^a\\\\c$", r"a\\c")],
)
def test_patterns_of_javascript(random: Engine, pattern: str, readable: str) -> None:
    grammar = grammar_of({"type": "string", "pattern": pattern}, "schema", strict=True)
    done = random.complete("x", grammar=grammar, temperature=1.0, seed=1, max_tokens=60)
    assert re.fullmatch(readable, json.loads(done.text))


def test_a_set_that_python_warns_of_is_one() -> None:
    assert r"[\x26\x5Ba]" in grammar_of({"pattern": "^[[a&&]$"}, "schema")


ANSWER = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}, "mode_reason": {"enum": ["a", "b"]}},
    "required": ["yes", "mode_reason"],
}


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_object", "schema": ANSWER},
        {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER}},
        {"type": "json_schema", "json_schema": {"schema": ANSWER, "strict": True}},
    ],
)
@pytest.mark.parametrize("mode", ["autoregressive", "specbranch", "auto"])
def test_an_answer_in_json(engine: Engine, response_format: dict[str, Any], mode: str) -> None:
    answer = engine.create_chat_completion(
        HELLO, response_format=response_format, max_tokens=64, seed=2, mode=mode
    )
    choice = cast("Any", answer)["choices"][0]
    jsonschema.validate(json.loads(choice["message"]["content"]), ANSWER)
    assert choice["finish_reason"] == "stop"


def test_any_json_object(engine: Engine) -> None:
    answer: Any = engine.create_chat_completion(
        HELLO, response_format={"type": "json_object"}, max_tokens=40, seed=1
    )
    choice = answer["choices"][0]
    assert choice["message"]["content"].startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)


@pytest.mark.parametrize(
    "response_format",
    ["json", {}, {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "schema": {}}],
)
def test_formats_that_are_none(engine: Engine, response_format: Any) -> None:
    with pytest.raises(InvalidArgument, match="response_format"):
        engine.create_chat_completion(HELLO, response_format=response_format)


@pytest.mark.parametrize(
    ("response_format", "told"),
    [
        (
            {"type": "text", "schema": ANSWER},
            r"response_format has 'schema', but its type is 'text'; it must be 'json_object'",
        ),
        (
            {"type": "text", "json_schema": {"schema": ANSWER}},
            r"response_format has 'json_schema', but its type is 'text'; it must be 'json_schema'",
        ),
        (
            {"type": "json_object", "json_schema": {"schema": ANSWER}},
            r"response_format has 'json_schema', but its type is 'json_object'",
        ),
    ],
)
def test_a_schema_that_the_type_does_not_read(
    engine: Engine, response_format: dict[str, Any], told: str
) -> None:
    """The answer would not follow it."""
    with pytest.raises(InvalidArgument, match=told):
        engine.create_chat_completion(HELLO, response_format=response_format)


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "text", "schema": None, "json_schema": None},
        {"type": "json_object", "schema": ANSWER, "json_schema": {"schema": ANSWER}},
        {"type": "json_schema", "schema": ANSWER, "json_schema": {"schema": ANSWER}},
    ],
)
def test_a_schema_at_the_places_of_several_servers(response_format: dict[str, Any]) -> None:
    schema = None if response_format["type"] == "text" else ANSWER
    assert getattr(schema_of_format(response_format), "schema", None) == schema


def copied(kind: str) -> dict[str, Any]:
    """A short schema of which 2**30 copies would be made."""
    if kind == "types":
        schema: dict[str, Any] = {"type": "string"}
        for _ in range(30):
            schema = {"type": ["object", "object"], "properties": {"a": schema}}
        return schema
    one = {"allOf": [{"$ref": "#/$defs/%"}, {}]}
    both = json.dumps({"type": "object", "properties": {"p": one, "q": one}})
    defs = {f"d{i}": json.loads(both.replace("%", f"d{i + 1}")) for i in range(30)}
    return {"$ref": "#/$defs/d0", "$defs": defs | {"d30": {"type": "object"}}}


@pytest.mark.parametrize("kind", ["types", "allOf"])
def test_a_schema_cannot_explode(kind: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^mine has more than {MOST_PARTS} parts"):
        grammar_of(copied(kind), "mine")


def test_names_of_rules_are_chosen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    n_searches = 0

    class Text(str):
        __slots__ = ()

        def __contains__(self, part: object) -> bool:
            nonlocal n_searches
            n_searches += 1
            return super().__contains__(str(part))

    dumps = SimpleNamespace(dumps=lambda *args, **options: Text(json.dumps(*args, **options)))
    monkeypatch.setattr(json_schema, "json", dumps)
    name = "ref" + "x" * 1000
    schema = {"properties": {name: {"$ref": "#/$defs/a"}}, "required": [name], **DEFS}
    assert f"{name}x-0-0" in grammar_of(schema, "schema")
    assert n_searches < 2


def test_a_schema_of_many_parts() -> None:
    schema = {"type": "array", "prefixItems": [{"type": "null"}] * (MOST_PARTS - 1)}
    assert "null" in grammar_of(schema, "mine")
