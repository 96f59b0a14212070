"""A text whose scores are no numbers leaves nothing that other texts could stumble over."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGUFReader
from tests.python.support.tiny_gguf import N_VOCAB, write_tiny_gguf
from tests.python.support.tiny_hybrid import write_tiny_hybrid
from tests.python.support.tiny_lora import PROJECTIONS, write_lora

from specbranch_cpp import DecodeError, Engine

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {
    "n_ctx": 1024,
    "n_threads": 1,
    "draft_n_threads": 1,
    "measure_costs": False,
    "lookup": False,
    "prefix_reuse": "exact",
}
HUGE = [(0, 1e38)]
DAMAGED = 100  # a token whose embedding is no number


def ids(n: int, step: int) -> list[int]:
    """A prompt of `n` tokens without `DAMAGED`."""
    return [120 + i * step % 150 for i in range(n)]


def tokens(engine: Engine, prompt: list[int], **settings: Any) -> tuple[int, ...]:
    return tuple(engine.generate(prompt, max_tokens=20, **settings).result().tokens)


def damaged(path: Path) -> Path:
    """The model at `path` (F32), with the damaged token."""
    reader = GGUFReader(path, "r+")
    [embedding] = [one for one in reader.tensors if one.name == "token_embd.weight"]
    embedding.data[DAMAGED] = np.nan
    reader.data.flush()
    return path


@pytest.fixture(scope="module", params=["bundled", "hybrid"])
def adapted(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pair: tuple[Path, Path],
) -> tuple[Path, Path, Path]:
    """A target, a draft, and an adapter whose scale can make any number of the target infinite."""
    folder = tmp_path_factory.mktemp("adapted")
    if request.param == "bundled":
        return (*pair, write_lora(folder / "lora.gguf", pair[0], strength=0.5))
    model = write_tiny_hybrid(folder / "hybrid.gguf", sharpness=2.0)
    return model, model, write_lora(folder / "lora.gguf", model, only=PROJECTIONS)


@pytest.mark.parametrize("mode", ["autoregressive", "specbranch"])
def test_other_texts_are_what_they_are_without_it(
    adapted: tuple[Path, Path, Path], mode: str
) -> None:
    target, draft, lora = adapted
    with Engine(target, draft, lora=lora, **OPTIONS) as fresh:
        expected = tokens(fresh, ids(100, 7), lora=[], mode=mode)
    with Engine(target, draft, lora=lora, **OPTIONS) as engine:
        for _ in range(2):
            # Neither the same prompt nor the one after it is spoilt.
            with pytest.raises(DecodeError, match="not a number"):
                tokens(engine, ids(300, 11), lora=HUGE, mode=mode)
            assert tokens(engine, ids(100, 7), lora=[], mode=mode) == expected


def test_a_prompt_that_is_left_half_way_spoils_nothing(adapted: tuple[Path, Path, Path]) -> None:
    target, draft, lora = adapted
    with Engine(target, draft, lora=lora, **OPTIONS) as fresh:
        expected = tokens(fresh, ids(100, 7), lora=[])
    with Engine(target, draft, lora=lora, **OPTIONS) as engine:
        for _ in range(3):
            generation = engine.generate(ids(900, 11), lora=HUGE, max_tokens=20)
            while generation.n_prefilled < 300:
                pass
            generation.cancel()
            with suppress(DecodeError):
                generation.result()
            assert tokens(engine, ids(100, 7), lora=[]) == expected


def test_beside_others_nobody_joins_until_all_is_clean(adapted: tuple[Path, Path, Path]) -> None:
    target, draft, lora = adapted
    prompts = [ids(100, step) for step in (7, 9, 13, 17)]
    with Engine(target, draft, lora=lora, **OPTIONS) as fresh:
        expected = [tokens(fresh, prompt, lora=[]) for prompt in prompts]
    with Engine(target, draft, lora=lora, n_parallel=4, **OPTIONS) as engine:
        running = engine.generate(prompts[0], lora=[], max_tokens=20)
        spoilt = engine.generate(ids(300, 11), lora=HUGE, max_tokens=20)
        later = [engine.generate(prompt, lora=[], max_tokens=20) for prompt in prompts]
        with pytest.raises(DecodeError, match="not a number"):
            spoilt.result()
        # Those beside it may fail, but have no other text.
        for generation, right in zip([running, *later], [expected[0], *expected], strict=True):
            with suppress(DecodeError):
                assert tuple(generation.result().tokens) == right
        for prompt, right in zip(prompts, expected, strict=True):
            assert tokens(engine, prompt, lora=[]) == right


def test_a_damaged_token_spoils_its_own_texts(tmp_path: Path) -> None:
    target = damaged(write_tiny_gguf(tmp_path / "target.gguf", context_length=2048))
    prompt = ids(100, 7)
    bad = [*ids(200, 11), DAMAGED, *ids(99, 13)]
    with Engine(target, check_tensors=False, **OPTIONS) as fresh:
        expected = tokens(fresh, prompt)
    with Engine(target, check_tensors=False, **OPTIONS) as engine:
        for _ in range(2):
            with pytest.raises(DecodeError, match="not a number"):
                tokens(engine, bad)
            assert tokens(engine, prompt) == expected
            # Its beginning is a prompt like any other.
            assert len(tokens(engine, bad[:150])) == 20


def test_a_rejected_draft_spoils_nothing(tmp_path: Path) -> None:
    target = damaged(write_tiny_gguf(tmp_path / "target.gguf", context_length=2048))
    options = OPTIONS | {"lookup": True}
    prompt = ids(100, 7)
    with Engine(target, check_tensors=False, **options) as fresh:
        expected = tokens(fresh, prompt)
    with Engine(target, check_tensors=False, **options) as engine:
        for _ in range(2):
            stops = [token for token in range(N_VOCAB) if token != DAMAGED]
            text = engine.generate(
                ids(100, 11), max_tokens=20, mode="speculative", stop_token_ids=stops,
                prediction=[DAMAGED] * 30, max_draft=16,
            ).result()  # fmt: skip
            assert text.stats.n_drafted > text.stats.n_accepted == 0
            assert tokens(engine, prompt) == expected


@pytest.mark.parametrize("changed", [{"prefix_reuse": "fast"}, {"flash_attn": False}])
def test_cancelled_texts_cost_one_other_at_most(tmp_path: Path, changed: dict[str, Any]) -> None:
    target = damaged(write_tiny_gguf(tmp_path / "target.gguf", context_length=2048))
    prompt = ids(100, 7)
    options: dict[str, Any] = OPTIONS | changed | {"check_tensors": False}
    with Engine(target, **options) as fresh:
        expected = tokens(fresh, prompt)
    with Engine(target, **options) as engine:
        n_failed = 0
        for _ in range(5):
            bad = engine.generate([*ids(20, 11), DAMAGED, *ids(900, 13)], max_tokens=5)
            while bad.n_prefilled < 200:
                pass
            bad.cancel()
            with suppress(DecodeError):
                bad.result()
            try:
                assert tokens(engine, prompt) == expected
            except DecodeError:
                n_failed += 1
        assert n_failed <= 1


def test_extreme_samplers_are_no_damage(pair: tuple[Path, Path]) -> None:
    with Engine(*pair, **OPTIONS) as engine:
        first, second = ids(500, 7), ids(300, 11)
        tokens(engine, first)
        text = engine.generate(
            second, max_tokens=20, temperature=3e38, dynatemp_range=1e37, dynatemp_exponent=1e38,
            samplers=["temperature", "temperature"], logit_bias={5: float("-inf")},
        ).result()  # fmt: skip
        assert len(text.tokens) == 20
        done = engine.generate(second, max_tokens=5).result()
        assert done.stats.n_reused > 250


def test_as_many_stop_tokens_as_one_likes(pair: tuple[Path, Path]) -> None:
    with Engine(*pair, **OPTIONS) as engine:
        prompt = ids(20, 7)
        expected = tokens(engine, prompt, min_tokens=3, stop_token_ids=[7])
        assert tokens(engine, prompt, min_tokens=3, stop_token_ids=[7] * 1_000_000) == expected


def test_a_draft_that_fails_at_a_token_drafts_the_next_text(tmp_path: Path) -> None:
    target = write_tiny_gguf(tmp_path / "target.gguf", context_length=2048)
    draft = damaged(write_tiny_gguf(tmp_path / "draft.gguf", context_length=2048))
    prompt = ids(100, 7)
    bad = [*ids(200, 11), DAMAGED, *ids(99, 13)]
    with Engine(target, draft, check_tensors=False, mode="speculative", **OPTIONS) as engine:
        for _ in range(2):
            failed = engine.generate(bad, max_tokens=20).result()
            assert failed.stats.mode_reason.startswith("the draft failed: ")
            done = engine.generate(prompt, max_tokens=20).result()
            assert not done.stats.mode_reason.startswith("the draft failed")
            assert done.stats.n_accepted == done.stats.n_drafted > 0
