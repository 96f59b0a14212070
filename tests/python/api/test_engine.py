"""Engines of real files: limits, vocabulary, grammars and settings at their extremes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.tiny_gguf import N_VOCAB

from specbranch_cpp import (
    ContextOverflow,
    Engine,
    EngineClosed,
    InvalidArgument,
    SpecBranchError,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_text_longer_than_the_drafts_context(tiny: Path, tiny_draft: Path) -> None:
    with Engine(tiny, tiny_draft, n_ctx=512, draft_n_ctx=64, n_threads=1) as engine:
        for prompt, max_tokens in (("abc", 200), ("abc" * 50, 50)):
            want = engine.generate(prompt, max_tokens=max_tokens, mode="autoregressive").result()
            for mode in ("speculative", "pearl", "specbranch"):
                done = engine.generate(prompt, max_tokens=max_tokens, mode=mode).result()
                assert (mode, done.tokens) == (mode, want.tokens)
                assert "context" not in done.stats.mode_reason
                # It drafts on beyond its context: no stretch of the text is decoded one by one.
                assert done.stats.n_all_drafted > max_tokens // 4


def test_the_context_is_a_limit(tiny: Path, tiny_draft: Path) -> None:
    with Engine(tiny, tiny_draft, n_ctx=256, n_threads=1) as engine:
        for mode in ("autoregressive", "speculative", "pearl", "specbranch", "auto"):
            done = engine.generate("abc", mode=mode, temperature=1.0, seed=9).result()
            assert done.finish_reason in ("length", "stop")
            assert done.stats.n_prompt + len(done.tokens) <= 257
        with pytest.raises(ContextOverflow, match="256"):
            engine.generate([5] * 256)
        with pytest.raises(ContextOverflow):
            engine.generate("abc" * 1000)
        assert len(engine.generate("abc", max_tokens=2).result().tokens) == 2


def test_vocabulary(tiny: Path) -> None:
    with Engine(tiny, n_ctx=256) as engine:
        assert engine.vocab_size == N_VOCAB
        assert engine.eos_token == engine.bos_token == 0
        tokens = engine.tokenize("def é():\n")
        assert tokens[0] == 0
        assert engine.tokenize("def é():\n", add_bos=False) == tokens[1:]
        assert engine.detokenize(tokens) == "def é():\n"
        assert engine.tokenize("<|endoftext|>", add_bos=False, special=True) == [0]
        assert len(engine.tokenize("<|endoftext|>", add_bos=False)) > 1
        assert engine.tokenize("") == [0]
        assert engine.tokenize("a\0b", add_bos=False) == [
            *engine.tokenize("a", add_bos=False),
            *engine.tokenize("\0", add_bos=False),
            *engine.tokenize("b", add_bos=False),
        ]
        nothing: tuple[str | list[int], ...] = ("", [])
        for prompt in nothing:
            with pytest.raises(InvalidArgument, match="prompt is empty"):
                engine.generate(prompt)
        assert len(engine.generate([0], max_tokens=2).result().tokens) == 2
        by_text = engine.generate("def f", max_tokens=5).result()
        by_tokens = engine.generate(engine.tokenize("def f"), max_tokens=5).result()
        assert by_text.tokens == by_tokens.tokens
    with pytest.raises(EngineClosed):
        engine.tokenize("abc")


@pytest.mark.parametrize(
    "grammar",
    ["nothing", 'start ::= "a"', 'root ::= "a', "root ::= missing", "root ::= root"],
)
def test_bad_grammars(tiny: Path, grammar: str) -> None:
    with Engine(tiny, n_ctx=256, n_threads=1) as engine:
        with pytest.raises(InvalidArgument, match=r"(?i)grammar"):
            engine.generate("abc", grammar=grammar)
        done = engine.generate("abc", grammar='root ::= "aaa"').result()
        assert done.text == "aaa"


ABSURD: list[dict[str, Any]] = [
    {"temperature": 1e-40},
    {"temperature": 1e-6},
    {"temperature": 1e30},
    {"temperature": 1.0, "top_k": 2**31 - 1},
    {"temperature": 1.0, "top_p": 1e-30},
    {"temperature": 1.0, "min_p": 1.0},
    {"repeat_penalty": 1e30},
    {"repeat_penalty": 1e-30},
    {"presence_penalty": 3e38, "frequency_penalty": 3e38},
    {"presence_penalty": -3e38, "temperature": 0.01},
    {"logit_bias": dict.fromkeys(range(N_VOCAB), -1e30)},
    {"logit_bias": dict.fromkeys(range(N_VOCAB), 3e38), "temperature": 1e-3},
    {"logit_bias": dict.fromkeys(range(N_VOCAB), float("-inf"))},
]


@pytest.mark.parametrize("settings", ABSURD, ids="-".join)
def test_absurd_settings(tiny: Path, tiny_draft: Path, settings: dict[str, Any]) -> None:
    """Allowed, if pointless: a text or an error, and the same in every mode."""
    with Engine(tiny, tiny_draft, n_ctx=256, n_threads=1) as engine:
        found: set[object] = set()
        for mode in ("autoregressive", "speculative", "pearl", "specbranch", "auto"):
            try:
                done = engine.generate("abc", max_tokens=12, seed=1, mode=mode, **settings).result()
                found.add((done.tokens, done.finish_reason))
            except SpecBranchError as error:
                found.add(type(error))
        assert len(found) == 1
        assert len(engine.generate("abc", max_tokens=3).result().tokens) == 3
