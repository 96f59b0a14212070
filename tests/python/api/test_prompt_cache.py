"""Texts that have left the KV cache come back from main memory (`cache_ram`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.matrix.cells import write
from tests.python.support.same_texts import check

from specbranch_cpp import Engine, InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
SETTINGS: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1, "draft_n_threads": 1}
CONVERSATION = "def total(rows):\n    return sum(row.price for row in rows)\n\n" * 14
TITLE = "# A title for this module in at most five words:\n" * 12


def test_a_conversation_goes_on_after_another_request(pair: tuple[Path, Path]) -> None:
    with Engine(*pair, **SETTINGS) as engine, Engine(*pair, cache_ram=0, **SETTINGS) as none:
        for mode in MODES:
            conversation = CONVERSATION + f"# {mode}\n"
            for model, least in ((engine, 128), (none, 0)):
                first = model.complete(conversation, mode=mode, max_tokens=24)
                model.complete(TITLE, mode=mode, max_tokens=8)
                again = model.complete(conversation + first.text, mode=mode, max_tokens=24)
                assert again.stats.n_reused % 128 == 0
                assert (again.stats.n_reused > 0) == (least > 0)
                fresh = none.complete(
                    conversation + first.text, mode="autoregressive", max_tokens=24
                )
                assert again.tokens == fresh.tokens


def test_the_draft_reads_nothing_anew_either(pair: tuple[Path, Path]) -> None:
    def forward_passes(cache_ram: int) -> int:
        with Engine(*pair, cache_ram=cache_ram, prefix_reuse="fast", **SETTINGS) as engine:
            tokens = engine.tokenize(CONVERSATION)
            for prompt in (tokens, engine.tokenize(TITLE)[:100]):
                engine.complete(prompt, mode="speculative", max_tokens=4)
            found = engine.complete(tokens, mode="speculative", max_tokens=4, trace=True)
            assert found.trace is not None
            return sum(s.n_tokens for s in found.trace.spans if s.side == "draft")

    assert forward_passes(0) > 300
    assert forward_passes(50) < 60


def test_texts_that_run_at_once_are_those_of_single_ones(pair: tuple[Path, Path]) -> None:
    prompts = [f"# {i}\n{CONVERSATION}"[: 400 + 90 * i] for i in range(8)]
    request: dict[str, Any] = {"max_tokens": 12, "temperature": 0.8, "seed": 4}
    with (
        Engine(*pair, n_parallel=3, **SETTINGS) as engine,
        Engine(*pair, prefix_reuse="off", **SETTINGS) as alone,
    ):
        expected = [alone.complete(prompt, **request) for prompt in prompts]
        for turn in range(3):
            found = [engine.generate(prompt, **request) for prompt in prompts]
            for prompt, wanted, one in zip(prompts, expected, found, strict=True):
                done = one.result()
                assert done.stats.n_reused > 0 or turn == 0
                check(alone, {"prompt": prompt, **request}, wanted, done)


@pytest.mark.parametrize("kind", ["gemma2", "mamba", "lfm2"])
def test_windows_and_recurrent_states_come_back(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    first = [1 + 7 * i % 250 for i in range(400)]
    second = [2 + 11 * i % 250 for i in range(300)]
    request: dict[str, Any] = {"max_tokens": 40, "temperature": 1.0, "seed": 3}
    with Engine(path, cache_ram=0, prefix_reuse="off", **SETTINGS) as fresh:
        answer = fresh.complete(first, **request)
        expected = fresh.complete([*first, *answer.tokens, 5, 6, 7], **request)
    cases: list[dict[str, Any]] = [{}]
    if kind == "gemma2":
        cases = [{"prefix_reuse": "fast"}, {"swa_full": False}]
    for options in cases:
        with Engine(path, path, **SETTINGS, **options) as engine:
            assert engine.complete(first, **request).tokens == answer.tokens
            engine.complete(second, **request)
            found = engine.complete([*first, *answer.tokens, 5, 6, 7], **request)
            assert found.stats.n_reused >= 384
            assert found.tokens == expected.tokens


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-2, "cache_ram is -2; it must be in -1 .. "),
        (2**40, "cache_ram is 1099511627776; it must be in -1 .. "),
        ("8", r"cache_ram is '8' \(str\); it must be an integer"),
        (True, "cache_ram is True; it must be an integer"),
    ],
)
def test_wrong_limits(pair: tuple[Path, Path], value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Engine(*pair, cache_ram=value, **SETTINGS)
    Engine(*pair, cache_ram=-1, **SETTINGS).close()


@pytest.mark.parametrize(
    "name", ["gemma-3-270m-q4_k_m.gguf", "qwen2.5-coder-0.5b-instruct-q4_0.gguf"]
)
def test_real_models(real_models: Path, name: str) -> None:
    request: dict[str, Any] = {"max_tokens": 16, "temperature": 0.0}
    with Engine(real_models / name, n_ctx=1024, n_threads=1, prefix_reuse="fast") as engine:
        tokens = engine.tokenize(CONVERSATION, add_bos=True)
        first = engine.complete(tokens, **request)
        engine.complete(TITLE, **request)
        again = engine.complete([*tokens, *first.tokens], **request)
        assert again.stats.n_reused >= len(tokens)
    with Engine(real_models / name, n_ctx=1024, n_threads=1, prefix_reuse="off") as engine:
        wanted = engine.complete([*tokens, *first.tokens], **request)
    assert again.tokens[:4] == wanted.tokens[:4]  # later ones may differ at a near-tie
