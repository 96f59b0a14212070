"""Tokens that a grammar forces: they save steps of the target, and change no token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, Sampling
from specbranch_cpp._grammar.json_schema import grammar_of
from specbranch_cpp.grammars import JsonSchema, Lark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG_KEYS = {
    "type": "object",
    "properties": {
        "name_of_the_function": {"type": "string", "maxLength": 8},
        "kind_of_the_returned_value": {"const": "a whole number"},
        "number_of_positional_arguments": {"type": "integer", "minimum": 0, "maximum": 9},
        "number_of_keyword_arguments": {"type": "integer", "minimum": 0, "maximum": 9},
    },
}
LONG_KEYS["required"] = list(LONG_KEYS["properties"])
RULES: dict[str, Any] = {
    "schema": JsonSchema(LONG_KEYS),
    "gbnf": grammar_of(LONG_KEYS, "schema"),
    "lark": Lark('start: "return value_of_the_" ("first" | "second") "_positional_argument"'),
}
PROMPT = "def first(value):\n    return value + 1\n"
N = 120


def options_of(rule: str, *, temperature: float, seed: int) -> dict[str, Any]:
    sampling = Sampling(temperature=temperature, seed=seed, grammar=RULES[rule])
    return {"max_tokens": N, "lookup": False, "sampling": sampling}


@pytest.fixture(scope="module")
def engines(pair: tuple[Path, Path]) -> Iterator[dict[str, Engine]]:
    options: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1, "lookup_answers": False}
    with (
        Engine(pair[0], **options) as alone,
        Engine(*pair, **options) as both,
        Engine(*pair, lookup=False, n_ctx=1024, n_threads=1) as without_texts,
    ):
        yield {"alone": alone, "both": both, "without texts": without_texts}


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["alone", "both", "without texts"])
def test_auto_gives_the_same_text(
    engines: dict[str, Engine], name: str, rule: str, temperature: float
) -> None:
    for seed in (1, 2):
        options = options_of(rule, temperature=temperature, seed=seed)
        plain = engines[name].generate(PROMPT, mode="autoregressive", **options).result()
        assert plain.stats.n_forced_drafted == 0
        done = engines[name].generate(PROMPT, mode="auto", **options).result()
        assert (done.tokens, done.text) == (plain.tokens, plain.text)
        assert done.finish_reason == plain.finish_reason
        stats = done.stats
        assert stats.n_lookup_drafted == 0
        assert stats.n_forced_accepted <= stats.n_forced_drafted
        assert ("by the grammar" in str(stats)) == (stats.n_forced_drafted > 0)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("rule", RULES)
def test_the_text_takes_fewer_steps(
    engines: dict[str, Engine], rule: str, temperature: float
) -> None:
    # This mode does not look at the costs, so the number of its steps does not vary.
    for seed in (1, 2):
        options = options_of(rule, temperature=temperature, seed=seed)
        plain = engines["alone"].generate(PROMPT, mode="autoregressive", **options).result()
        done = engines["alone"].generate(PROMPT, mode="speculative", **options).result()
        assert (done.tokens, done.finish_reason) == (plain.tokens, plain.finish_reason)
        stats = done.stats
        assert stats.n_forced_accepted == stats.n_accepted
        # Most bytes are those of the names, but these small models spell them in many ways.
        assert stats.n_target_steps < 0.8 * plain.stats.n_target_steps


def test_json_is_as_the_schema_says(engines: dict[str, Engine]) -> None:
    sampling = Sampling(temperature=0.8, seed=3, grammar=RULES["schema"])
    done = engines["alone"].generate(PROMPT, max_tokens=500, sampling=sampling).result()
    found = json.loads(done.text)
    assert list(found) == LONG_KEYS["required"]
    assert found["kind_of_the_returned_value"] == "a whole number"


@pytest.mark.parametrize("mode", ["pearl", "specbranch", "speculative"])
def test_other_modes_do_not_use_them(engines: dict[str, Engine], mode: str) -> None:
    sampling = Sampling(grammar=RULES["schema"])
    options: dict[str, Any] = {"max_tokens": N, "sampling": sampling}
    plain = engines["both"].generate(PROMPT, mode="autoregressive", **options).result()
    done = engines["both"].generate(PROMPT, mode=mode, **options).result()
    assert done.tokens == plain.tokens
    assert done.stats.n_forced_drafted == 0


def test_the_limit_of_tokens_and_a_stop_string_hold(engines: dict[str, Engine]) -> None:
    sampling = Sampling(grammar=RULES["schema"])
    for n in range(1, 9):
        done = engines["alone"].generate(PROMPT, max_tokens=n, sampling=sampling).result()
        assert len(done.tokens) == n
    stopped = (
        engines["alone"]
        .generate(PROMPT, max_tokens=N, sampling=sampling, stop="the_function")
        .result()
    )
    assert stopped.text.endswith("name_of_")


def test_a_text_can_be_left_in_the_middle(engines: dict[str, Engine]) -> None:
    sampling = Sampling(grammar=RULES["schema"])
    plain = engines["alone"].generate(PROMPT, max_tokens=N, sampling=sampling).result()
    with engines["alone"].generate(PROMPT, max_tokens=N, sampling=sampling) as generation:
        first = next(iter(generation))
    assert plain.text.startswith(first.text)
    again = engines["alone"].generate(PROMPT, max_tokens=N, sampling=sampling).result()
    assert again.tokens == plain.tokens


def test_a_large_gbnf_grammar_forces_nothing(engines: dict[str, Engine]) -> None:
    words = " | ".join(f'"word_number_{i:04}"' for i in range(600))
    small = 'root ::= "word_number_" [0-9]{4}'
    large = f"root ::= {words}"
    assert len(large) > 8192
    found = [
        engines["alone"]
        .generate(
            PROMPT,
            max_tokens=30,
            lookup=False,
            mode="speculative",
            sampling=Sampling(temperature=0.0, grammar=grammar),
        )
        .result()
        for grammar in (small, large)
    ]
    assert found[0].stats.n_forced_drafted > found[1].stats.n_forced_drafted == 0
    assert found[1].text.strip('"') in words
