"""Real models: every mode gives the text of `autoregressive`, and reuse changes nothing.

`benchmarks/exactness.py` is the same over a large grid.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, policies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEERED = ("speculative", "pearl", "specbranch")
MODES = (*STEERED, "auto")
PROMPTS = (
    "def fibonacci(n):\n    ",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, ",
    "é",
)
LINES = 'root ::= line+\nline ::= " "* [a-z_]+ ("(" [a-z_, ]* ")")? "\\n"\n'
SAMPLERS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "temperature": {"temperature": 0.7},
    "hot": {"temperature": 1.0},
    "top-k": {"temperature": 1.0, "top_k": 20},
    "top-p": {"temperature": 1.0, "top_p": 0.8},
    "min-p": {"temperature": 0.8, "min_p": 0.05},
    "penalties": {
        "temperature": 0.7,
        "repeat_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.2,
    },
    "greedy penalties": {"repeat_penalty": 1.2},
    "bias": {"temperature": 0.7, "logit_bias": {40: 2.0, 41: -3.0, 42: float("-inf")}},
    "grammar": {"temperature": 0.7, "grammar": LINES},
    "greedy grammar": {"grammar": LINES},
    "everything": {
        "temperature": 0.9,
        "top_k": 50,
        "top_p": 0.95,
        "min_p": 0.01,
        "repeat_penalty": 1.1,
        "logit_bias": {40: 2.0},
        "grammar": LINES,
    },
}


@pytest.mark.parametrize("samplers", SAMPLERS)
def test_every_mode_gives_the_same_text(engine: Engine, samplers: str) -> None:
    seeds = (1, 2) if "temperature" in SAMPLERS[samplers] else (1,)
    for prompt in PROMPTS:
        for seed in seeds:
            settings = {"max_tokens": 40, "seed": seed, **SAMPLERS[samplers]}
            want = engine.generate(prompt, mode="autoregressive", **settings).result()
            for mode in MODES:
                got = engine.generate(prompt, mode=mode, **settings).result()
                assert (mode, got.tokens, got.text) == (mode, want.tokens, want.text)
                assert got.finish_reason == want.finish_reason


@pytest.mark.parametrize("policy", [policies.Fixed(1), policies.Fixed(8), policies.Confidence(0.9)])
@pytest.mark.parametrize("max_branches", [1, 4])
def test_no_policy_changes_the_text(
    engine: Engine, policy: policies.BuiltIn, max_branches: int
) -> None:
    settings: dict[str, Any] = {"max_tokens": 60, "seed": 5, "temperature": 0.8}
    want = engine.generate(PROMPTS[0], mode="autoregressive", **settings).result()
    for mode in STEERED:
        got = engine.generate(
            PROMPTS[0], mode=mode, policy=policy, max_branches=max_branches, **settings
        )
        assert got.result().tokens == want.tokens


@pytest.mark.parametrize("mode", ["autoregressive", "specbranch"])
def test_grammars_hold(engine: Engine, mode: str) -> None:
    generation = engine.generate(
        PROMPTS[0],
        max_tokens=60,
        temperature=1.0,
        seed=3,
        grammar='root ::= ("ab" | "cd")+',
        mode=mode,
    )
    text = generation.result().text
    assert text
    assert set(text.rstrip("ac")) <= set("abcd")
    pairs = [text[i : i + 2] for i in range(0, len(text) - 1, 2)]
    assert set(pairs) <= {"ab", "cd"}


@pytest.mark.parametrize("mode", ["autoregressive", "specbranch"])
def test_a_grammar_with_an_end_ends_the_text(engine: Engine, mode: str) -> None:
    done = engine.generate("x = ", max_tokens=60, grammar='root ::= "yes" | "no"', mode=mode)
    assert done.result().text in ("yes", "no")
    assert done.result().finish_reason == "stop"


@pytest.mark.parametrize("mode", ["autoregressive", *MODES])
def test_logprobs_are_of_the_raw_scores(engine: Engine, mode: str) -> None:
    settings: dict[str, Any] = {"max_tokens": 12, "seed": 4, "temperature": 1.0, "logprobs": 4}
    want = engine.generate(PROMPTS[0], mode="autoregressive", **settings).result().logprobs
    got = engine.generate(PROMPTS[0], mode=mode, **settings).result().logprobs
    assert got == want
    assert got is not None
    for entry in got:
        assert entry.logprob <= max(entry.top.values()) <= 0.0
        assert list(entry.top.values()) == sorted(entry.top.values(), reverse=True)


def test_chunks_join_to_the_text(engine: Engine) -> None:
    generation = engine.generate(PROMPTS[2], max_tokens=80, temperature=1.5, seed=1)
    chunks = list(generation)
    done = generation.result()
    assert "".join(chunk.text for chunk in chunks) == done.text == engine.detokenize(done.tokens)


def test_eight_threads_get_the_texts_of_one(engine: Engine) -> None:
    def texts(seed: int) -> list[str]:
        return [
            engine.generate(prompt, max_tokens=24, temperature=0.8, seed=seed).result().text
            for prompt in PROMPTS
        ]

    one_by_one = [texts(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(texts, range(8))) == one_by_one


def test_interleaved_generations(engine: Engine) -> None:
    alone = [engine.generate(prompt, max_tokens=30).result().tokens for prompt in PROMPTS[:2]]
    both = zip(*(engine.generate(prompt, max_tokens=30) for prompt in PROMPTS[:2]), strict=False)
    read = [(first.token, second.token) for first, second in both]
    for (first, second), *tokens in zip(read, *alone, strict=False):
        assert [first, second] == tokens


REUSING: dict[str, Any] = {
    "n_ctx": 2048, "n_threads": 1, "draft_n_threads": 1, "measure_costs": False,
}  # fmt: skip


def fresh(pair: tuple[Path, Path], prompt: str, settings: dict[str, Any]) -> tuple[int, ...]:
    with Engine(*pair, **REUSING) as engine:
        return engine.generate(prompt, **settings).result().tokens


@pytest.mark.parametrize("mode", ["autoregressive", "specbranch"])
def test_reuse_gives_the_text_of_a_fresh_engine(pair: tuple[Path, Path], mode: str) -> None:
    base = "\n".join(f"def function_{n}(value):\n    return value + {n}\n" for n in range(40))
    settings: dict[str, Any] = {"max_tokens": 24, "temperature": 0.7, "seed": 1, "mode": mode}
    with Engine(*pair, **REUSING) as engine:
        first = engine.generate(base, **settings).result()
        continued = base + first.text + "\n# and another one\n"
        prompts = {
            "unrelated": "import os\n",
            "base again": base,
            "longer": base + "\ndef last(",
            "shorter": base[: len(base) // 2],
            "continued": continued,
            "continued twice": continued + "def more(value):\n",
            "same": continued + "def more(value):\n",
            "one token": "x",
        }
        reused = {}
        for name, prompt in prompts.items():
            done = engine.generate(prompt, **settings).result()
            reused[name] = done.stats.n_reused
            assert (name, done.tokens) == (name, fresh(pair, prompt, settings))
    assert reused["longer"] >= 128
    assert reused["shorter"] >= 128
    assert reused["continued"] >= 128
    assert reused["same"] >= 128


def test_reuse_can_be_off_or_fast(pair: tuple[Path, Path]) -> None:
    prompt = "value = 1\n" * 60
    for prefix_reuse, least, most in (("off", 0, 0), ("fast", 100, 10_000)):
        with Engine(*pair, n_ctx=2048, n_threads=1, prefix_reuse=prefix_reuse) as engine:
            first = engine.generate(prompt, max_tokens=8).result()
            stats = engine.generate(prompt + first.text, max_tokens=8).result().stats
            assert least <= stats.n_reused <= most


TRUNCATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "top-k": {"top_k": 40},
    "top-p": {"top_p": 0.8},
    "min-p": {"min_p": 0.05},
    "penalties": {"repeat_penalty": 1.2, "presence_penalty": 0.3},
}


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("temperature", [0.0, 0.5, 0.9, 1.2])
def test_a_perfect_draft_is_never_rejected(
    perfect: Engine, temperature: float, truncation: str
) -> None:
    """The target as its own draft, without branches: equal logits give equal tokens."""
    settings: dict[str, Any] = {"max_tokens": 48, "temperature": temperature}
    settings |= TRUNCATIONS[truncation]
    for seed, prompt in enumerate(PROMPTS):
        for mode in ("speculative", "pearl", "auto"):
            done = perfect.generate(
                prompt, seed=seed, mode=mode, max_branches=1, lookup=False, **settings
            ).result()
            assert (mode, done.stats.n_rolled_back) == (mode, 0)


@pytest.mark.slow
@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("temperature", [0.9, 1.2])
def test_a_real_perfect_draft_is_never_rejected(
    real_models: Path, temperature: float, truncation: str
) -> None:
    model = real_models / "qwen2.5-coder-0.5b-instruct-q8_0.gguf"
    settings: dict[str, Any] = {"max_tokens": 48, "temperature": temperature, "seed": 1}
    settings |= TRUNCATIONS[truncation]
    with Engine(model, model, n_ctx=1024, n_threads=1, draft_n_threads=1) as engine:
        for prompt in PROMPTS[:2]:
            done = engine.generate(prompt, mode="speculative", **settings).result()
            assert done.stats.n_rolled_back == 0


@pytest.fixture(scope="module")
def perfect(pair: tuple[Path, Path]) -> Iterator[Engine]:
    target, _ = pair
    with Engine(target, target, n_ctx=1024, n_threads=1, draft_n_threads=1) as engine:
        yield engine


def test_branches_of_a_perfect_draft_are_lost_at_near_ties_only(perfect: Engine) -> None:
    """Branches leave holes in the draft's cache. What fills them stands in another order, so that
    logits differ by rounding.
    """
    for seed, prompt in enumerate(PROMPTS):
        done = perfect.generate(
            prompt, max_tokens=64, seed=seed, mode="specbranch", logprobs=2, trace=True
        ).result()
        assert done.trace is not None
        assert done.logprobs is not None
        position = 0
        for one in done.trace.rounds:
            position += len(one.committed)
            if one.rolled_back:
                best, second = done.logprobs[position - 1].top.values()
                assert best - second < 0.1
