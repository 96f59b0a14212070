"""Real models: whatever texts propose, alone or beside a draft, the text is that of
`autoregressive`.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.samplings import SAMPLINGS
from tests.python.support.tiny_hybrid import write_tiny_hybrid

from specbranch_cpp import Engine, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODES = ("auto", "speculative")
PROMPT = "def first(value):\n    return value + 1\n\n\ndef second(value):\n    return "
N = 48
SAMPLERS: dict[str, dict[str, Any]] = {
    **SAMPLINGS,
    "temperature": {"temperature": 0.7},
    "xtc": {"temperature": 0.8, "xtc_probability": 0.5, "xtc_threshold": 0.1},
    "adaptive-p": {"temperature": 0.8, "adaptive_target": 0.3},
}


@pytest.fixture(scope="module")
def alone(pair: tuple[Path, Path]) -> Iterator[Engine]:
    with Engine(pair[0], n_ctx=1024, n_threads=1, lookup_answers=False) as engine:
        yield engine


@pytest.fixture(scope="module")
def both(pair: tuple[Path, Path]) -> Iterator[Engine]:
    """With a draft model."""
    with Engine(*pair, n_ctx=1024, n_threads=1, lookup_answers=False) as engine:
        yield engine


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_hybrid(tmp_path_factory.mktemp("hybrid") / "hybrid.gguf")


def nearly(tokens: tuple[int, ...]) -> list[int]:
    """A prediction with every ninth token wrong, and one left out."""
    wrong = [token if i % 9 != 8 else tokens[0] for i, token in enumerate(tokens)]
    return wrong[:20] + wrong[21:]


def check_modes(
    engine: Engine, prompt: str = PROMPT, modes: tuple[str, ...] = MODES, **settings: Any
) -> int:
    """Compares all modes with and without a prediction; how many tokens of texts were accepted."""
    n_accepted = 0
    settings = {"max_tokens": N, "seed": 3, **settings}
    plain = engine.generate(prompt, mode="autoregressive", **settings).result()
    for prediction in (None, nearly(plain.tokens)):
        for mode in modes:
            done = engine.generate(prompt, mode=mode, prediction=prediction, **settings).result()
            assert (mode, done.tokens, done.text) == (mode, plain.tokens, plain.text)
            assert done.finish_reason == plain.finish_reason
            n_accepted += done.stats.n_lookup_accepted
    return n_accepted


@pytest.mark.parametrize("samplers", SAMPLERS)
def test_every_mode_gives_the_same_text(alone: Engine, samplers: str) -> None:
    # How many in auto depends on the clock; with DRY a text repeats itself less.
    assert check_modes(alone, **SAMPLERS[samplers]) > N // 4


@pytest.mark.parametrize("samplers", SAMPLERS)
def test_auto_with_a_draft_model_gives_the_same_text(both: Engine, samplers: str) -> None:
    check_modes(both, modes=("auto",), **SAMPLERS[samplers])


def test_auto_drafts_from_texts_beside_a_draft_model(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    # An engine soon learns what steps take here, and then the clock decides. Until then it
    # believes its profile, by which rows of the target are free and drafts are dear.
    path = tmp_path / "pair.json"
    options: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1, "lookup_answers": False}
    with Engine(*pair, measure_costs=False, **options) as engine:
        engine.save_profile(path)
    content = json.loads(path.read_text())
    content["costs"] = {
        "target_us": [1e4] * 17,
        "draft_us": [5e4],
        "target_slowdown": 1,
        "draft_slowdown": 1,
    }

    def n_accepted(seed: int) -> int:
        path.write_text(json.dumps(content))
        with Engine(*pair, profile=path, **options) as engine:
            return check_modes(engine, modes=("auto",), seed=seed)

    assert any(n_accepted(seed) > 0 for seed in range(10))


def test_other_modes_with_a_draft_model_draft_from_no_text(both: Engine) -> None:
    for mode in ("speculative", "pearl", "specbranch"):
        done = both.generate(PROMPT, max_tokens=N, mode=mode).result()
        assert done.stats.n_drafted > 0
        assert done.stats.n_lookup_drafted == 0
    done = both.generate(PROMPT, max_tokens=N, mode="auto", lookup=False).result()
    assert done.stats.n_lookup_drafted == 0


def test_log_probabilities_are_the_same_with_bit_exact(pair: tuple[Path, Path]) -> None:
    with Engine(pair[0], n_ctx=512, n_threads=1, bit_exact=True, lookup_answers=False) as engine:
        for temperature in (0.0, 0.8):
            assert check_modes(engine, temperature=temperature) > 0
        settings: dict[str, Any] = {"max_tokens": N, "logprobs": 3, "temperature": 0.8, "seed": 4}
        plain = engine.generate(PROMPT, mode="autoregressive", **settings).result()
        for mode in MODES:
            prediction = list(plain.tokens)
            done = engine.generate(PROMPT, mode=mode, prediction=prediction, **settings).result()
            assert done.logprobs == plain.logprobs


@pytest.mark.parametrize("prefix_reuse", ["exact", "fast", "off"])
def test_the_next_turns_of_a_text(pair: tuple[Path, Path], prefix_reuse: str) -> None:
    options: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1, "prefix_reuse": prefix_reuse}
    with Engine(pair[0], **options) as engine, Engine(pair[0], lookup=False, **options) as other:
        text = PROMPT
        for turn in range(4):
            # `speculative` drafts from earlier answers, too: this one was given before.
            for mode in ("speculative", "auto", "speculative"):
                done = engine.generate(text, mode=mode, max_tokens=32).result()
                assert done.tokens == other.generate(text, max_tokens=32).result().tokens
            assert done.stats.n_lookup_accepted > 0
            text = "import os\n" + text if turn == 1 else text + done.text + "\n"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_hybrid_target(hybrid: Path, temperature: float) -> None:
    with Engine(hybrid, n_ctx=256, n_threads=1) as engine:
        assert engine.can_speculate
        assert check_modes(engine, temperature=temperature) > 0
    with Engine(hybrid, n_ctx=256, n_threads=1, bit_exact=True) as engine:
        assert not engine.can_speculate
        assert engine.generate(PROMPT, max_tokens=8).result().stats.n_drafted == 0
        with pytest.raises(InvalidArgument, match="bit_exact"):
            engine.generate(PROMPT, mode="speculative")


def test_many_threads_get_the_texts_of_one(alone: Engine) -> None:
    def text(seed: int) -> str:
        prompt = PROMPT + f"value + {seed % 3}\n"
        options: dict[str, Any] = {"max_tokens": 24, "temperature": 0.8, "seed": seed}
        return alone.generate(prompt, mode=MODES[seed % 2], **options).result().text

    one_by_one = [text(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(text, range(8))) == one_by_one


def test_a_cancelled_generation_leaves_nothing_behind(alone: Engine) -> None:
    plain = alone.generate(PROMPT, mode="autoregressive", max_tokens=N).result()
    for mode in MODES:
        generation = alone.generate(PROMPT, mode=mode, max_tokens=N, prediction=plain.text)
        next(generation)
        generation.cancel()
        assert plain.tokens[: len(generation.result().tokens)] == generation.result().tokens
        assert alone.generate(PROMPT, mode=mode, max_tokens=N).result().tokens == plain.tokens
