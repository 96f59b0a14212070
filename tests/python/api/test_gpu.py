"""On a GPU: every mode gives the text of `autoregressive`, wherever the two models are.

Where the target is on the CPU with one thread, the texts are equal to the last token, as the scores
are the same bits. On a GPU llama.cpp computes batches of different lengths by different kernels:
there a text may part where two candidates are nearly tied, and nowhere else (docs/exactness.md).
Run on a machine with a GPU by `pytest -m gpu`; the placement `cpu` runs everywhere and tries the
tests themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks import exactness

from specbranch_cpp import Engine, _core, policies
from specbranch_cpp._placement.memory import GpuMemory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from specbranch_cpp import Completion

MODES = ("speculative", "pearl", "specbranch", "auto")
PROMPTS = (
    "def fibonacci(n):\n    ",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, ",
    "import os\nimport sys\n\n\ndef main(argv=None):\n    ",
)
TOKENS = 64
SEED = 7
# Scores, after temperature and noise, that rounding may bring into another order. Twice what was
# seen on CPUs with K-quants, which too have several kernels.
NEAR_TIE = 0.2


@dataclass(frozen=True)
class Placement:
    """Layers on GPUs, -1: all; `exact`: no near-ties; numbers of the GPUs, ``None``: any."""

    target: int
    draft: int
    exact: bool
    target_gpus: tuple[int, ...] | None = None
    draft_gpus: tuple[int, ...] | None = None


PLACEMENTS = {
    "cpu": Placement(0, 0, exact=True),
    "gpu": Placement(-1, -1, exact=False),
    "draft-cpu": Placement(-1, 0, exact=False),
    "target-cpu": Placement(0, -1, exact=True),
    "two-gpus": Placement(-1, -1, exact=False, target_gpus=(0,), draft_gpus=(1,)),
    "gpus": Placement(-1, -1, exact=False, target_gpus=(0, 1), draft_gpus=(1,)),
}


def gpus() -> list[_core.DeviceInfo]:
    return [device for device in _core.list_devices() if device.is_gpu]


skip_without_gpu = pytest.mark.skipif(
    not gpus(), reason="llama.cpp finds no GPU here, or was built without one"
)


def has_memory_of_its_own() -> bool:
    """False for a GPU in software, or in the processor: what the CPU takes is gone there, too."""
    machine = {one.memory_total for one in _core.list_devices() if not one.is_gpu}
    return bool(gpus()) and not any(
        gpu.is_integrated or gpu.memory_total in machine for gpu in gpus()
    )


skip_without_memory = pytest.mark.skipif(
    not has_memory_of_its_own(), reason="llama.cpp finds no GPU here with memory of its own"
)


skip_without_two = pytest.mark.skipif(
    len(gpus()) < 2, reason="llama.cpp finds fewer than two GPUs here"
)


def names(numbers: tuple[int, ...] | None) -> list[str] | None:
    return None if numbers is None else [gpus()[number].name for number in numbers]


def open_engine(pair: tuple[Path, Path], placement: Placement, **options: Any) -> Engine:
    return Engine(
        *pair,
        n_ctx=1024,
        n_threads=1,
        draft_n_threads=1,
        n_gpu_layers=placement.target,
        draft_n_gpu_layers=placement.draft,
        devices=names(placement.target_gpus),
        draft_devices=names(placement.draft_gpus),
        **options,
    )


@pytest.fixture(
    scope="module",
    params=[
        "cpu",
        *(
            pytest.param(name, marks=[pytest.mark.gpu, skip_without_gpu])
            for name in ("gpu", "draft-cpu", "target-cpu")
        ),
        *(
            pytest.param(name, marks=[pytest.mark.gpu, skip_without_two])
            for name in ("two-gpus", "gpus")
        ),
    ],
)
def placed(
    request: pytest.FixtureRequest, pair: tuple[Path, Path]
) -> Iterator[tuple[Engine, Placement]]:
    placement = PLACEMENTS[request.param]
    with open_engine(pair, placement) as engine:
        yield engine, placement


def parts_at_near_tie(
    engine: Engine, prompt: str, want: Completion, got: Completion, temperature: float
) -> bool:
    """False for equal texts; fails where they part with one candidate clearly ahead."""
    if got.tokens == want.tokens:
        return False
    index = exactness.first_difference(want, got)
    gap = exactness.gap(engine, prompt, index, want, got, SEED, temperature, {})
    assert gap is not None, f"one text ends after {index} tokens"
    assert gap <= NEAR_TIE, f"they part after {index} tokens, {gap:.3f} apart"
    return True


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_text_of_autoregressive(
    placed: tuple[Engine, Placement], mode: str, temperature: float
) -> None:
    engine, placement = placed
    n_parted = 0
    for prompt in PROMPTS:
        settings: dict[str, Any] = {
            "max_tokens": TOKENS, "temperature": temperature, "seed": SEED
        }  # fmt: skip
        want = engine.generate(prompt, mode="autoregressive", **settings).result()
        got = engine.generate(prompt, mode=mode, **settings).result()
        if placement.exact:
            assert got.tokens == want.tokens
        else:
            n_parted += parts_at_near_tie(engine, prompt, want, got, temperature)
    # Rare by nature; if every text parted, something other than rounding would be at work.
    assert n_parted < len(PROMPTS)


@pytest.mark.parametrize("max_branches", [1, 4])
def test_branches_and_long_windows(placed: tuple[Engine, Placement], max_branches: int) -> None:
    engine, placement = placed
    settings: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0.8, "seed": SEED}
    want = engine.generate(PROMPTS[0], mode="autoregressive", **settings).result()
    for policy in (policies.Fixed(8), policies.Confidence(0.9)):
        got = engine.generate(
            PROMPTS[0], mode="specbranch", policy=policy, max_branches=max_branches, **settings
        ).result()
        assert got.stats.n_drafted > 0
        if placement.exact:
            assert got.tokens == want.tokens
        else:
            parts_at_near_tie(engine, PROMPTS[0], want, got, 0.8)


@pytest.mark.parametrize("mode", ["autoregressive", "specbranch"])
def test_the_same_call_gives_the_same_text(placed: tuple[Engine, Placement], mode: str) -> None:
    engine, _ = placed
    settings: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0.8, "seed": SEED}
    first, second = (engine.generate(PROMPTS[1], mode=mode, **settings).result() for _ in range(2))
    assert first.tokens == second.tokens


def test_a_text_that_left_the_kv_cache_comes_back(placed: tuple[Engine, Placement]) -> None:
    """Its cells were copied into main memory, and from there to the devices again."""
    engine, placement = placed
    long = "\n\n".join([*PROMPTS, *PROMPTS, *PROMPTS])
    settings: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0.0}
    want = engine.generate(long, mode="autoregressive", **settings).result()
    for mode in MODES:
        engine.generate(PROMPTS[-1], mode=mode, **settings).result()
        got = engine.generate(long, mode=mode, **settings).result()
        assert got.stats.n_reused >= 0.5 * got.stats.n_prompt
        if placement.exact:
            assert got.tokens == want.tokens
        else:
            parts_at_near_tie(engine, long, want, got, 0.0)


def test_costs_are_measured(placed: tuple[Engine, Placement]) -> None:
    engine, _ = placed
    costs = engine.costs
    assert costs is not None
    assert min(*costs.target_ms, *costs.draft_ms) > 0
    assert min(costs.target_slowdown, costs.draft_slowdown) >= 1.0


@pytest.mark.gpu
@skip_without_memory
def test_the_weights_are_where_they_should_be(pair: tuple[Path, Path]) -> None:
    """Memory of the GPU is taken by what is placed there, and by nothing else.

    Of the pairs that the tests use, the target is the larger one by far.
    """

    def taken(placement: Placement, **options: Any) -> int:
        before = sum(device.memory_free for device in gpus())
        with open_engine(pair, placement, measure_costs=False, **options) as engine:
            engine.generate(PROMPTS[0], max_tokens=4).result()
            return before - sum(device.memory_free for device in gpus())

    taken(PLACEMENTS["gpu"])  # the driver keeps some for itself once it is used
    half = pair[0].stat().st_size / 2  # the embeddings stay on the CPU
    assert taken(PLACEMENTS["gpu"]) > half
    assert taken(PLACEMENTS["draft-cpu"]) > half
    assert taken(PLACEMENTS["cpu"]) < half


@pytest.mark.gpu
@skip_without_gpu
def test_many_engines_one_after_another(pair: tuple[Path, Path]) -> None:
    """Nothing is left behind on the device."""
    with open_engine(pair, PLACEMENTS["gpu"]) as engine:
        want = engine.generate(PROMPTS[0], max_tokens=16).result().tokens
    free = sum(device.memory_free for device in gpus())
    for _ in range(4):
        with open_engine(pair, PLACEMENTS["gpu"], measure_costs=False) as engine:
            assert engine.generate(PROMPTS[0], max_tokens=16).result().tokens == want
    if has_memory_of_its_own():
        assert free - sum(device.memory_free for device in gpus()) < pair[0].stat().st_size


def test_a_text_of_another_seed_is_no_near_tie(engine: Engine) -> None:
    """What the tests above allow is little."""
    settings: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0.8}
    want, got = (
        engine.generate(PROMPTS[0], mode="autoregressive", seed=seed, **settings).result()
        for seed in (SEED, SEED + 1)
    )
    with pytest.raises(AssertionError, match="apart"):
        parts_at_near_tie(engine, PROMPTS[0], want, got, 0.8)


@pytest.mark.gpu
@skip_without_gpu
def test_layers_go_on_the_gpu_without_being_asked_and_take_what_was_estimated(
    pair: tuple[Path, Path],
) -> None:
    with Engine(*pair, n_ctx=65536):
        pass  # the driver takes its own memory once
    before = {one.name: one.memory_free for one in gpus()}
    with Engine(*pair, n_ctx=65536) as engine:
        engine.generate(PROMPTS[0], max_tokens=8).result()
        after = {one.name: one.memory_free for one in gpus()}
        placement = engine.placement
    assert placement is not None
    assert placement.draft is not None
    assert placement.target.n_gpu_layers == placement.target.n_layers
    assert placement.draft.n_gpu_layers == placement.draft.n_layers
    if not has_memory_of_its_own():
        return
    for name, free in before.items():
        models = (placement.target, placement.draft)
        estimated = sum(model.memory.get(name, 0) for model in models)
        taken = free - after[name]
        # The memory that the choice leaves free covers what the estimate does not count.
        assert 0.95 * estimated <= taken <= estimated + GpuMemory(free, 8 * 2**30).spare
