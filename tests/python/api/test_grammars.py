"""Rules by llguidance: schemas, regular expressions and Lark; and what happens without it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, InvalidArgument, MissingExtra, Sampling, SpecBranchError, _core
from specbranch_cpp._grammar import library
from specbranch_cpp._grammar.books import lark_or_gbnf
from specbranch_cpp.grammars import JsonSchema, Lark, Regex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODES = ("speculative", "pearl", "specbranch", "auto")
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
}
LINES = 'start: line+\nline: " "* /[a-z_]/+ ("(" /[a-z_, ]/* ")")? "\\n"'
RULES: dict[str, Any] = {
    "schema": JsonSchema(PERSON),
    "regex": Regex(r"(\w{1,6} ){3}\w\."),
    "lark": Lark(LINES),
}


@pytest.fixture
def without_llguidance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_problem", lambda: "llguidance is not installed")


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("name", RULES)
def test_every_mode_gives_the_same_text(engine: Engine, name: str, temperature: float) -> None:
    for prompt in ("def fibonacci(n):\n    ", "\u00e9"):
        for seed in (1, 2):
            sampling = Sampling(temperature=temperature, seed=seed, grammar=RULES[name])
            want = engine.generate(
                prompt, max_tokens=40, mode="autoregressive", sampling=sampling
            ).result()
            assert want.tokens
            for mode in MODES:
                got = engine.generate(prompt, max_tokens=40, mode=mode, sampling=sampling).result()
                assert (mode, got.tokens, got.text) == (mode, want.tokens, want.text)
                assert got.finish_reason == want.finish_reason


def test_a_grammar_of_guidance(engine: Engine) -> None:
    """What ``(select(["cat", "dog"]) + " of age " + gen(regex=...)).ll_grammar()`` returns."""
    rule = """%llguidance {}

start: SELECT " of age " age

SELECT: "cat"
     | "dog"

age[capture]: AGE
AGE: /[0-9]{1,2}/
"""
    texts = {
        engine.complete(
            "A ", grammar=Lark(rule), max_tokens=20, mode=mode, temperature=0.8, seed=5
        ).text
        for mode in ("autoregressive", *MODES)
    }
    assert len(texts) == 1
    assert re.fullmatch("(cat|dog) of age [0-9]{1,2}", texts.pop())


@pytest.mark.parametrize("seed", range(4))
def test_the_text_follows_the_rule(engine: Engine, seed: int) -> None:
    def text(grammar: Any) -> str:
        done = engine.complete("x", grammar=grammar, temperature=1.5, seed=seed, max_tokens=120)
        assert done.finish_reason == "stop"
        return done.text

    assert re.fullmatch(r"(\w{1,6} ){3}\w\.", text(RULES["regex"]), re.ASCII)
    assert {*json.loads(text(RULES["schema"]))} == {"name", "age"}
    assert text(Lark('start: "yes" | "no"')) in {"yes", "no"}
    assert re.fullmatch(r"a/[0-9]\[b\]", text(Regex(r"^a/\d\[b\]$")))
    assert text(Regex("^foo$|^bar$")) in {"foo", "bar"}


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (Lark("start: ("), "grammar is wrong"),
        (Lark('begin: "a"'), "grammar is wrong"),
        (Lark("start: other"), "grammar is wrong"),
        (Lark(" "), "grammar.text is empty"),
        (Lark('start: "a\0"'), "zero byte"),
        (Regex("("), "not a regular expression"),
        (Regex("(?=a)b"), "cannot express"),
        (Regex(re.compile("a")), "the pattern of Regex is re.compile"),  # type: ignore[arg-type]
        (Regex(None), "the pattern of Regex is None"),  # type: ignore[arg-type]
        (Regex("\ud800"), "lone surrogate"),
        (JsonSchema({"type": "x"}), "schema cannot be enforced"),
        (JsonSchema({"not": {}}, strict=True, name="mine"), "mine cannot be enforced"),
    ],
)
def test_a_wrong_rule_is_refused(engine: Engine, grammar: Any, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        engine.generate("x", grammar=grammar)
    assert engine.complete("x", grammar=Lark('start: "ok"'), max_tokens=8).text == "ok"


def test_a_schema_with_too_many_ways_ends_the_generation_not_the_engine(engine: Engine) -> None:
    names = {f"p{index}": {"type": "string"} for index in range(3000)}
    with pytest.raises(SpecBranchError, match=r"the grammar cannot be followed; .* items; max is"):
        engine.complete("x", grammar=JsonSchema({"type": "object", "properties": names}))
    assert engine.complete("x", grammar=Lark('start: "ok"'), max_tokens=8).text == "ok"


def test_a_grammar_that_grows_without_end_ends_the_generation_not_the_process(
    engine: Engine,
) -> None:
    nested = Lark("start: a a a a a a a a\na: b b b b b b\nb: c? c? c? c? c?\nc: /x/? /x/? a?")
    reason = ""
    try:
        done = engine.complete("x", grammar=nested, max_tokens=30)
        assert set(done.text) <= {"x"}
    except SpecBranchError as error:
        reason = str(error)
    assert "grammar" in reason or not reason
    assert engine.complete("x", grammar=Lark('start: "ok"'), max_tokens=8).text == "ok"


def test_control_tokens_are_text_only_where_the_grammar_names_them(tiny: Path) -> None:
    with Engine(tiny, n_ctx=256, n_threads=1) as engine:
        controls = [
            token
            for token in range(engine.vocab_size)
            if not engine.detokenize([token]) and engine.detokenize([token], special=True)
        ]
        bias = dict.fromkeys(controls, 50.0)
        done = engine.complete(
            "x", grammar=Regex(".{4}"), logit_bias=bias, temperature=1.0, seed=1, max_tokens=20
        )
        assert len(done.text) == 4
        assert not {*done.tokens} & {*controls} - {engine.eos_token}


def test_without_llguidance_rules_become_gbnf(engine: Engine, without_llguidance: None) -> None:
    del without_llguidance
    for rule in (JsonSchema(PERSON), Regex(r"\d+")):
        gbnf = lark_or_gbnf(rule)
        assert isinstance(gbnf, str)
        assert "root ::=" in gbnf
    done = engine.complete("x", grammar=JsonSchema(PERSON), temperature=1.0, seed=1, max_tokens=120)
    assert {*json.loads(done.text)} == {"name", "age"}
    with pytest.raises(MissingExtra, match=f"Lark grammar needs llguidance=={library.VERSION}"):
        engine.generate("x", grammar=Lark('start: "a"'))


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What is known of llguidance is found out again, also after the test."""
    library._problem.cache_clear()
    yield
    library._problem.cache_clear()


def test_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch, forgotten: None) -> None:
    del forgotten
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0.1")
    assert not library.is_available()
    with pytest.raises(MissingExtra, match=r"has version 0\.0\.1"):
        library.require("this")


def test_a_library_that_is_another_is_refused() -> None:
    """In a process of its own, because a library is loaded once."""
    program = (
        "import sys\n"
        "from specbranch_cpp import InvalidArgument, _core\n"
        "for path in sys.argv[1:]:\n"
        "    try: _core.load_llguidance(path.encode())\n"
        "    except InvalidArgument as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "/nothing/there.so", _core.__file__],
        check=True,
        capture_output=True,
        text=True,
    )
    first, second = done.stdout.splitlines()
    assert "cannot be loaded" in first
    assert "has no function llg_get_version" in second


def test_a_grammar_of_llama_cpp_python(engine: Engine) -> None:
    from llama_cpp import LlamaGrammar  # type: ignore[attr-defined]

    grammar: Any = LlamaGrammar.from_string('root ::= "a"+')
    text = str(engine.complete("x", grammar=grammar, max_tokens=3))
    assert text == str(engine.complete("x", grammar='root ::= "a"+', max_tokens=3))
    assert set(text) == {"a"}
    with pytest.raises(InvalidArgument, match="grammar is 3; it must be GBNF text, a LlamaGrammar"):
        engine.complete("x", grammar=3)  # type: ignore[arg-type]
