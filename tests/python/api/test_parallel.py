"""Several generations at once (`n_parallel`): the texts of single ones, and how the engine ends."""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.same_texts import check

from specbranch_cpp import AsyncEngine, Engine, EngineClosed, InvalidArgument, _core
from specbranch_cpp.grammars import Regex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from specbranch_cpp import Completion

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
REQUESTS: list[dict[str, Any]] = [
    {"prompt": "def fibonacci(n):\n", "max_tokens": 48},
    {"prompt": "class Stack:\n", "max_tokens": 30, "temperature": 0.8, "seed": 1},
    {"prompt": "import os\n\ndef walk(", "max_tokens": 48, "temperature": 1.0, "seed": 2},
    {"prompt": "x = [", "max_tokens": 20, "temperature": 0.8, "seed": 3, "stop": "\n"},
    {"prompt": "for i in range(", "max_tokens": 40, "temperature": 0.7, "min_p": 0.05, "seed": 5},
    {"prompt": "def add(a, b):\n", "max_tokens": 1},
    {"prompt": "# " + "Sort a list. " * 30 + "\n", "max_tokens": 16, "temperature": 0.5, "seed": 6},
    {"prompt": "y = ", "max_tokens": 32, "temperature": 0.9, "seed": 7, "top_p": 0.9},
    {"prompt": "while True:", "max_tokens": 32, "temperature": 0.8, "seed": 8, "top_k": 40},
]  # fmt: skip


@pytest.fixture(scope="module")
def alone(pair: tuple[Path, Path]) -> Iterator[Engine]:
    with Engine(*pair, n_ctx=512, n_threads=1, draft_n_threads=1, prefix_reuse="off") as engine:
        yield engine


@pytest.fixture(scope="module")
def together(pair: tuple[Path, Path]) -> Iterator[Engine]:
    with Engine(*pair, n_ctx=512, n_threads=1, draft_n_threads=1, n_parallel=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def expected(alone: Engine) -> list[Completion]:
    return [alone.generate(**one, mode="autoregressive").result() for one in REQUESTS]


@pytest.mark.parametrize("mode", MODES)
def test_each_text_is_what_it_is_alone(
    alone: Engine, together: Engine, expected: list[Completion], mode: str
) -> None:
    running = [together.generate(**one, mode=mode) for one in REQUESTS]
    with ThreadPoolExecutor(len(running)) as pool:
        found = list(pool.map(lambda one: one.result(), running))
    for request, wanted, got in zip(REQUESTS, expected, found, strict=True):
        check(alone, request, wanted, got)


def test_they_really_run_at_once(pair: tuple[Path, Path]) -> None:
    """The second text begins before the first one has ended."""
    # The first is so long that it runs still, however late this thread goes on.
    with Engine(*pair, n_ctx=8192, n_threads=1, n_parallel=2, measure_costs=False) as engine:
        first = engine.generate("def a():\n", logit_bias={0: float("-inf")})
        second = engine.generate("def b():\n", max_tokens=4)
        next(iter(first))
        assert second.result().tokens
        first.cancel()
        assert first.result().finish_reason == "cancelled"


@pytest.mark.parametrize("mode", MODES)
def test_texts_that_share_few_cells_are_what_they_are_alone(
    pair: tuple[Path, Path], alone: Engine, expected: list[Completion], mode: str
) -> None:
    asked = [one | {"max_tokens": min(one["max_tokens"], 48)} for one in REQUESTS] * 3
    with Engine(
        *pair, n_ctx=512, n_ctx_total=600, n_threads=1, draft_n_threads=1, n_parallel=4, mode=mode
    ) as engine:
        assert (engine.n_ctx, engine.n_ctx_total, engine.n_parallel) == (512, 600, 4)
        # It needs all cells, so that the ones that the next texts have left give way.
        long: dict[str, Any] = {
            "prompt": "x = 0\n" * 100,
            "logit_bias": {0: float("-inf")},
            "seed": 9,
        }
        full = engine.generate(**long)
        running = [engine.generate(**one) for one in asked]
        assert len(full.result().tokens) + full.result().stats.n_prompt == 512
        for request, wanted, generation in zip(asked, expected * 3, running, strict=True):
            check(alone, request, wanted, generation.result())
        wanted = alone.generate(**long, mode="autoregressive").result()
        check(alone, long, wanted, full.result())
        check(alone, long, wanted, engine.generate(**long).result())


def test_fewer_cells_take_less_memory(pair: tuple[Path, Path]) -> None:
    def size(n_ctx_total: int, n_parallel: int) -> int:
        options = _core.ModelOptions(os.fsencode(pair[0]))
        options.n_ctx, options.n_ctx_total = 2048, n_ctx_total
        found = _core.target_footprint(options, max_draft=8, max_branches=4, n_parallel=n_parallel)
        return found.host.context

    assert size(0, 4) > 3.5 * size(0, 1)
    assert size(2048, 4) < 1.5 * size(0, 1)
    assert size(1 << 30, 4) == size(0, 4)


def test_fewer_cells_than_one_text_may_have_are_refused(pair: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidArgument, match=r"n_ctx_total is 511; .* at least n_ctx, .* 512"):
        Engine(*pair, n_ctx=512, n_ctx_total=511, n_parallel=4)
    with pytest.raises(InvalidArgument, match="n_ctx_total is -1"):
        Engine(*pair, n_ctx=512, n_ctx_total=-1, n_parallel=4)


def test_rules_hold(together: Engine) -> None:
    rule = Regex(r"\d{4}-\d\d")
    asked: list[dict[str, Any]] = [
        {"max_tokens": 24, "grammar": rule, "temperature": 0.8, "seed": seed} for seed in range(6)
    ] + [{"max_tokens": 200, "stop": "\n", "temperature": 0.9, "mirostat_mode": 2}]
    running = [together.generate("date = '", **one) for one in asked]
    *dates, line = [one.result() for one in running]
    assert all(re.fullmatch(r"\d{4}-\d\d", one.text) for one in dates)
    assert "\n" not in line.text


def test_cancelled_ones_do_not_harm_the_others(
    alone: Engine, together: Engine, expected: list[Completion]
) -> None:
    for _ in range(3):
        running = [together.generate(**one, mode="auto") for one in REQUESTS]
        for index, generation in enumerate(running):
            if index % 3 == 1:
                generation.cancel()
        for index, (request, wanted) in enumerate(zip(REQUESTS, expected, strict=True)):
            got = running[index].result()
            if got.finish_reason == "cancelled":
                assert index % 3 == 1
            else:
                check(alone, request, wanted, got)


def test_a_conversation_finds_its_cells_again(together: Engine) -> None:
    """Two conversations take turns; each goes on with what its sequence holds."""
    texts = ["# First\n" + "a = 1\n" * 40, "# Second\n" + "b = 2\n" * 40]
    for turn in range(3):
        for index, text in enumerate(texts):
            done = together.generate(text, max_tokens=8, temperature=0.0).result()
            if turn > 0:
                assert done.stats.n_reused >= 128
            texts[index] = text + done.text + f"c = {turn}\n"


def test_what_asks_for_no_text_takes_no_cells_away(pair: tuple[Path, Path]) -> None:
    """Such a request decodes nothing, so it may cost no conversation its cells."""
    texts = ["# First\n" + "a = 1\n" * 60, "# Second\n" + "b = 2\n" * 60]
    with Engine(pair[0], n_ctx=1024, n_parallel=2, measure_costs=False, n_threads=1) as engine:
        for text in texts:
            engine.complete(text, max_tokens=4)
        engine.complete("x", max_tokens=0)
        for text in texts:
            done = engine.complete(text + "c = 3\n" * 4, max_tokens=4)
            assert done.stats.n_reused >= 128


def test_close_ends_them_all(pair: tuple[Path, Path]) -> None:
    # The texts are so long that they run still, however late this thread goes on.
    engine = Engine(*pair, n_ctx=8192, n_threads=1, n_parallel=3, measure_costs=False)
    running = [engine.generate("def f():\n", logit_bias={0: float("-inf")}) for _ in range(5)]
    for generation in running[:3]:
        next(generation)
    closer = threading.Thread(target=engine.close)
    closer.start()
    closer.join(60)
    assert not closer.is_alive()
    assert {one.result().finish_reason for one in running} == {"cancelled"}
    with pytest.raises(EngineClosed):
        engine.generate("x")


def test_async(pair: tuple[Path, Path], expected: list[Completion], alone: Engine) -> None:
    import asyncio

    async def main() -> None:
        async with AsyncEngine(
            *pair, n_ctx=512, n_threads=1, draft_n_threads=1, n_parallel=4
        ) as it:
            texts = await asyncio.gather(*(it.complete(**one) for one in REQUESTS))
        for request, wanted, got in zip(REQUESTS, expected, texts, strict=True):
            check(alone, request, wanted, got)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_parallel": 0}, r"n_parallel is 0; it must be in 1 .. 16"),
        ({"n_parallel": 17}, r"n_parallel is 17; it must be in 1 .. 16"),
        ({"n_parallel": 2.0}, r"n_parallel is 2.0 .*; it must be an integer"),
        ({"n_parallel": 2, "bit_exact": True}, r"n_parallel is 2; with bit_exact it must be 1"),
        ({"n_parallel": 8, "draft_n_batch": 32}, r"draft_n_batch is 32; .* n_parallel=8 it must"),
    ],
)
def test_what_is_refused(pair: tuple[Path, Path], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        Engine(*pair, n_ctx=256, **options)


def test_the_memory_is_counted(pair: tuple[Path, Path]) -> None:
    """Each text has the whole context."""
    sizes = []
    for n in (1, 4):
        with Engine(*pair, n_ctx=2048, n_parallel=n, measure_costs=False) as engine:
            assert engine.n_parallel == n
            assert engine.n_ctx == 2048
            assert engine.placement is not None
            sizes.append(engine.placement)
    assert sizes[1].target.memory["CPU"] > sizes[0].target.memory["CPU"]
