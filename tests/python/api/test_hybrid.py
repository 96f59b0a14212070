"""Hybrid models as target and as draft: they speculate with the text of autoregressive decoding."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tiny_hybrid import write_tiny_hybrid

from specbranch_cpp import Completion, Engine, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "draft_n_threads": 1}
SAMPLERS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.8, "seed": 3},
    {"temperature": 1.0, "top_p": 0.9, "seed": 5},
)
MODES = ("speculative", "pearl", "specbranch", "auto")
PROMPT = "def read(path):\n    return "
FINE: dict[str, Any] = {"flash_attn": False, "draft_flash_attn": False}
"""Of several rows the kernel of flash attention is coarser: near-ties would come out either way."""


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_hybrid(tmp_path_factory.mktemp("hybrid") / "hybrid.gguf")


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("draft") / "draft.gguf", n_layer=1, seed=3)


def check_all_modes(engine: Engine) -> Iterator[tuple[str, Completion]]:
    """The texts of all modes and samplers, each equal to that of autoregressive decoding."""
    for settings in SAMPLERS:
        plain = engine.generate(PROMPT, mode="autoregressive", max_tokens=60, **settings)
        expected = plain.result()
        for mode in MODES:
            found = engine.generate(PROMPT, mode=mode, max_tokens=60, **settings).result()
            assert found.tokens == expected.tokens
            yield mode, found


def test_all_modes_give_the_same_text(hybrid: Path, draft: Path) -> None:
    with Engine(hybrid, draft, **SETTINGS) as engine:
        assert engine.can_speculate
        assert engine.mode == "auto"
        for mode, found in check_all_modes(engine):
            if mode != "auto":
                assert found.stats.n_drafted > 0


def test_a_cancelled_text_keeps_no_cells_from_others(hybrid: Path) -> None:
    """The copy of a text from before a verification takes cells, too."""
    length = 4
    wheel = [5, 6, 7, 8]
    prompt = wheel * 40
    n_calls = 0
    reached, go_on = threading.Event(), threading.Event()

    def turn(ids: Any, scores: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 20:
            reached.set()
            assert go_on.wait(120)
        scores[:] = -50.0
        scores[wheel[len(ids) % length]] = 10.0
        return scores

    with Engine(
        hybrid, mode="speculative", n_ctx=256, n_ctx_total=256, n_parallel=2, n_threads=1
    ) as engine:
        text = engine.generate(prompt, max_tokens=80, logits_processor=[turn])
        assert reached.wait(120)
        text.cancel()
        go_on.set()
        done = text.result()
        assert done.finish_reason == "cancelled"
        assert done.stats.n_drafted > 0
        other = [20 + i % 50 for i in range(len(prompt))]
        for _ in range(2):
            assert len(engine.generate(other, max_tokens=8).result().tokens) == 8


def test_the_next_turn_of_a_text(hybrid: Path, draft: Path) -> None:
    with Engine(hybrid, draft, **SETTINGS) as engine:
        first = engine.generate(PROMPT, mode="specbranch", max_tokens=20).result()
        longer = PROMPT + first.text + " = "
        expected = engine.generate(longer, mode="autoregressive", max_tokens=20).result()
        assert engine.generate(longer, mode="specbranch", max_tokens=20).result().tokens == (
            expected.tokens
        )


def test_bit_exact_decodes_alone(hybrid: Path, draft: Path) -> None:
    with Engine(hybrid, draft, bit_exact=True, **SETTINGS) as engine:
        assert not engine.can_speculate
        assert engine.mode == "autoregressive"
        assert engine.generate(PROMPT, max_tokens=5).result().tokens
        with pytest.raises(InvalidArgument, match="bit_exact"):
            engine.generate(PROMPT, mode="speculative")


def test_a_hybrid_draft(hybrid: Path) -> None:
    with Engine(hybrid, hybrid, **SETTINGS) as engine:
        assert engine.can_speculate
        for _, found in check_all_modes(engine):
            # The same weights on both sides: a wrong state of the draft would be rejected.
            assert found.stats.n_rolled_back <= 1


def test_a_hybrid_draft_of_another_target(hybrid: Path, draft: Path) -> None:
    with Engine(draft, hybrid, **SETTINGS) as engine:
        assert len(list(check_all_modes(engine))) == len(SAMPLERS) * len(MODES)


def test_a_prompt_goes_on_from_a_chunk_of_the_one_before(hybrid: Path, draft: Path) -> None:
    with Engine(hybrid, draft, n_ctx=512, n_threads=1, draft_n_threads=1) as engine:
        tokens = engine.tokenize(PROMPT * 40)[:300]
        engine.generate(tokens, max_tokens=10).result()
        again = engine.generate(tokens, max_tokens=10).result()
        assert again.stats.n_reused == 256
        other = [*tokens[:280], *tokens[:20]]
        found = engine.generate(other, max_tokens=10).result()
        assert found.stats.n_reused == 256
    with Engine(hybrid, draft, n_ctx=512, n_threads=1, draft_n_threads=1) as engine:
        assert engine.generate(other, max_tokens=10).result().tokens == found.tokens


@pytest.mark.parametrize("drafts", ["attention", "hybrid", "none"])
def test_several_texts_at_once(hybrid: Path, draft: Path, drafts: str) -> None:
    drafting = {"attention": draft, "hybrid": hybrid, "none": None}[drafts]
    prompts = [PROMPT, "import os\n", "class Stack:\n", PROMPT + "open(", "def f"]
    with (
        Engine(hybrid, **SETTINGS, **FINE) as alone,
        Engine(hybrid, drafting, n_parallel=3, **SETTINGS, **FINE) as engine,
    ):
        for sampler in SAMPLERS:
            expected = [
                alone.generate(
                    prompt, mode="autoregressive", max_tokens=40, **_of_text(sampler, index)
                )
                .result()
                .tokens
                for index, prompt in enumerate(prompts)
            ]
            for mode in ("autoregressive", *(MODES if drafts != "none" else ("auto",))):
                found = engine.generate_many(prompts, mode=mode, max_tokens=40, **sampler)
                assert [text.tokens for text in found] == expected


def _of_text(sampler: dict[str, Any], index: int) -> dict[str, Any]:
    """`generate_many` gives text i the seed ``seed + i``."""
    return {**sampler, "seed": sampler["seed"] + index} if "seed" in sampler else sampler


def test_conversations_at_once_find_their_states_again(hybrid: Path, draft: Path) -> None:
    with Engine(hybrid, draft, n_ctx=512, n_threads=1, n_parallel=3, **FINE) as engine:
        words = engine.tokenize(PROMPT * 40)
        prompts = [[*words[i : i + 300]] for i in (0, 1, 2)]
        engine.generate_many(prompts, max_tokens=10)
        turns = [[*prompt[:280], *words[5:25]] for prompt in prompts]
        found = engine.generate_many(turns, max_tokens=10)
        assert [text.stats.n_reused for text in found] == [256] * 3
    with Engine(hybrid, draft, n_ctx=512, n_threads=1, **FINE) as engine:
        for turn, text in zip(turns, found, strict=True):
            assert engine.generate(turn, max_tokens=10).result().tokens == text.tokens
