"""`generate_many`: the texts of single calls, in the order of the prompts, and how a call ends."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.same_texts import check

from specbranch_cpp import (
    AsyncEngine,
    ContextOverflow,
    DecodeError,
    Engine,
    EngineClosed,
    InvalidArgument,
    Sampling,
    SpecBranchError,
    policies,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.python.conftest import MakeFake, RunPython

    from specbranch_cpp import Completion

Prompts = list["str | Sequence[int]"]
PROMPTS: Prompts = [
    "def fibonacci(n):\n", "class Stack:\n", "x = [", "# " + "Sort a list. " * 30 + "\n",
    "def fibonacci(n):\n", "import os\n\ndef walk(", "y = ", "while True:", "def add(a, b):\n",
]  # fmt: skip
MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
ENDLESS = {0: float("-inf")}


@pytest.fixture(scope="module", params=[1, 3], ids=["alone", "together"])
def many(request: pytest.FixtureRequest, pair: tuple[Path, Path]) -> Iterator[Engine]:
    options: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1, "n_parallel": request.param}
    with Engine(*pair, n_ctx=512, **options) as engine:
        yield engine


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_each_text_is_that_of_its_own_call(many: Engine, mode: str, temperature: float) -> None:
    options: dict[str, Any] = {"max_tokens": 24, "temperature": temperature, "mode": mode}
    found = many.generate_many(PROMPTS, **options, seed=2**64 - 3)
    assert len(found) == len(PROMPTS)
    for index, (prompt, got) in enumerate(zip(PROMPTS, found, strict=True)):
        seed = (2**64 - 3 + index) % 2**64
        assert got.stats.seed == seed
        assert got.stats.mode == mode
        wanted = many.complete(prompt, **options, seed=seed)
        if many.n_parallel == 1:
            assert (got.text, got.tokens) == (wanted.text, wanted.tokens)
            assert got.finish_reason == wanted.finish_reason
        request = {"prompt": prompt, "temperature": temperature, "seed": seed}
        check(many, request, wanted, got)


def test_without_a_seed_each_text_names_its_own(many: Engine) -> None:
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "logprobs": 2, "trace": True}
    found = many.generate_many(["def f("] * 4, **options)
    seeds = [one.stats.seed for one in found]
    assert len(set(seeds)) == 4
    for one in found:
        assert one.logprobs is not None
        assert len(one.logprobs) == len(one.tokens)
        assert one.trace is not None
        again = many.complete("def f(", max_tokens=12, temperature=1.0, seed=one.stats.seed)
        check(many, {"prompt": "def f(", "temperature": 1.0, "seed": one.stats.seed}, again, one)


def test_seeds_of_an_engine_with_a_seed_are_drawn_in_the_order_of_the_prompts(tiny: Path) -> None:
    seeds = []
    for several in (True, False):
        with Engine(tiny, n_ctx=256, n_threads=1, seed=7) as engine:
            if several:
                found = engine.generate_many([[1], [2], [3]], max_tokens=2)
            else:
                found = [engine.complete([token], max_tokens=2) for token in (1, 2, 3)]
            seeds.append([one.stats.seed for one in found])
    assert seeds[0] == seeds[1]


def test_the_seed_of_an_object_counts(many: Engine) -> None:
    sampling = Sampling(temperature=0.8, seed=4)
    found = many.generate_many(["a = ", [5, 6, 7]], sampling=sampling, max_tokens=4)
    assert [one.stats.seed for one in found] == [4, 5]
    assert sampling.seed == 4


def test_options_that_can_be_read_once_hold_for_all_texts(many: Engine) -> None:
    plain: dict[str, Any] = {
        "stop": ["e", "o"],
        "stop_token_ids": [7],
        "samplers": ["top_k", "temperature"],
    }
    once: dict[str, Any] = {name: iter(value) for name, value in plain.items()}
    prompts = ["def add(a, b):", "def add(a, b):", "import os"]
    options: dict[str, Any] = {"max_tokens": 30, "temperature": 0.0}  # a drawn token may be a tie
    expected = many.generate_many(prompts, **options, **plain)
    found = many.generate_many(iter(prompts), **options, **once)  # type: ignore[arg-type]
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert {one.finish_reason for one in found} == {"stop"}


def test_more_at_once_than_readers(many: Engine) -> None:
    ends: list[int] = []
    many.on_end(lambda stats: ends.append(stats.n_prompt))
    found = many.generate_many([[token] for token in range(1, 41)], max_tokens=3, seed=1)
    assert [len(one.tokens) for one in found] == [3] * 40
    assert [one.stats.seed for one in found] == list(range(1, 41))
    assert len(ends) == 40
    assert many.generate_many([]) == []
    assert many.generate_many(iter(["x"]), max_tokens=1)[0].finish_reason == "length"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompts", "options", "kind", "words"),
    [
        ("one text", {}, InvalidArgument, r"prompts is 'one text' \(str\); it must be a sequence"),
        (5, {}, InvalidArgument, r"prompts is 5 \(int\); it must be a sequence"),
        (["a", ""], {}, InvalidArgument, r"prompts\[1\] is empty"),
        (["a", []], {}, InvalidArgument, r"prompts\[1\] is empty"),
        (["a", "b", 5], {}, InvalidArgument, r"prompts\[2\] is 5 \(int\); it must be a str or"),
        (["a", [0, -1]], {}, InvalidArgument, r"prompts\[1\]\[1\] is -1; it must be in 0 .. "),
        (["a", "x " * 2000], {}, ContextOverflow, r"prompts\[1\] has 200\d tokens; the context of"),
        (["a", "x" * 99999], {}, ContextOverflow, r"prompts\[1\] has 99999 bytes"),
        (["a", [1] * 512], {}, ContextOverflow, r"prompts\[1\] has 512 tokens; the context of 512"),
        (["a"] * 9, {"top_p": 3.0}, InvalidArgument, "top_p is 3; it must be in"),
        (["a"] * 9, {"mode": "fast"}, InvalidArgument, "mode is 'fast'"),
        (["a"], {"seed": -1}, InvalidArgument, "seed is -1; it must be in 0"),
        (["a"], {"seed": "7"}, InvalidArgument, r"seed is '7' \(str\); it must be an integer"),
        (["a"], {"sampling": Sampling(seed=2**64)}, InvalidArgument, r"sampling\.seed is 18446"),
        (["a"], {"sampling": Sampling(), "top_k": 3}, InvalidArgument, "top_k is 3, but sampling"),
        (["a"], {"max_tokens": 2.5}, InvalidArgument, r"max_tokens is 2.5 .*an integer"),
        (["a"], {"temprature": 1.0}, TypeError, r"generate_many\(\) got an .* 'temprature'"),
        (["a"], {"prompt_name": "x"}, TypeError, "'prompt_name'"),
    ],
)  # fmt: skip
def test_nothing_begins_if_an_argument_is_wrong(
    many: Engine, prompts: Any, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    before = many.stats.n_generations
    with pytest.raises(kind, match=words):
        many.generate_many(prompts, **options)
    assert many.stats.n_generations == before
    assert len(many.complete("x", max_tokens=2).tokens) == 2
    assert many.stats.n_generations == before + 1


def failing_after(first: int, n_tokens: int) -> Callable[[Any, Any], Any]:
    """A logits processor that fails in the text after the prompt ``[first]``."""

    def fail(ids: Any, scores: Any) -> Any:
        if ids[0] == first and len(ids) > n_tokens:
            raise ZeroDivisionError(f"at {first}")
        return scores

    return fail


def test_a_failure_cancels_the_others_and_is_raised(many: Engine) -> None:
    ends: list[int] = []
    many.on_end(lambda stats: ends.append(stats.n_generated))
    prompts = [[5], [6], [7], [8], [9], [10]]
    with pytest.raises(ZeroDivisionError, match="at 6"):
        many.generate_many(prompts, logits_processor=failing_after(6, 3), logit_bias=ENDLESS)
    n_ended = len(ends)
    assert n_ended < len(prompts)
    assert many.complete([6], max_tokens=9).finish_reason == "length"
    assert len(ends) == n_ended + 1  # all others had ended


def test_an_error_of_the_target_is_raised(make_fake: MakeFake) -> None:
    engine = make_fake(target_fail_at_step=3)
    with pytest.raises(DecodeError):
        engine.generate_many(["abc"] * 4, max_tokens=9)


def test_close_ends_the_call(pair: tuple[Path, Path]) -> None:
    engine = Engine(*pair, n_ctx=512, n_threads=1, n_parallel=2, measure_costs=False)
    reached = threading.Event()

    def tell(_: Any, scores: Any) -> Any:
        reached.set()
        return scores

    def close() -> None:
        assert reached.wait(120)
        engine.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(EngineClosed):
        engine.generate_many(["x"] * 50, logits_processor=tell, logit_bias=ENDLESS)
    closer.join(120)
    assert not closer.is_alive()


def test_ctrl_c_cancels_all(pair: tuple[Path, Path], python: RunPython) -> None:
    code = f"""
import os, signal, threading, time
from specbranch_cpp import Engine
engine = Engine({str(pair[0])!r}, {str(pair[1])!r}, n_ctx=512, n_threads=1, n_parallel=2)
reached = threading.Event()
def slow(ids, scores):
    reached.set()
    time.sleep(0.05)
    return scores
def interrupt():
    reached.wait()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    engine.generate_many(["x"] * 50, logits_processor=slow, logit_bias={{0: float("-inf")}})
except KeyboardInterrupt:
    done = engine.complete("x", max_tokens=3)
    while any(one.name == "specbranch-many" for one in threading.enumerate()):
        time.sleep(0.01)
    print(len(done.tokens), engine.stats.n_generations <= 5)
"""
    assert python(code) == "3 True"


class Planner:
    """A policy in Python that counts the texts that ask it at the same time."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def plan(self, state: policies.RoundState) -> policies.Plan:
        del state
        self.threads.add(threading.get_ident())
        return policies.Plan(2)

    def observe(self, outcome: policies.RoundOutcome) -> None:
        pass


def test_a_policy_in_python_is_asked_for_each_text(many: Engine) -> None:
    planner = Planner()
    found = many.generate_many(PROMPTS, max_tokens=24, policy=planner)
    assert len(planner.threads) > 1
    assert threading.get_ident() not in planner.threads
    alone = many.generate_many(PROMPTS, max_tokens=24, mode="specbranch")
    for prompt, wanted, got in zip(PROMPTS, alone, found, strict=True):
        check(many, {"prompt": prompt}, wanted, got)


def test_a_function_must_not_call_it(make_fake: MakeFake) -> None:
    engine = make_fake()

    def call(_: Any, scores: Any) -> Any:
        engine.generate_many(["a"])
        return scores

    with pytest.raises(SpecBranchError, match="must not read a generation of the engine"):
        engine.generate_many(["abc"], max_tokens=3, logits_processor=call)
    assert len(engine.generate_many(["abc"], max_tokens=3)[0].tokens) == 3


def test_async(many: Engine) -> None:
    wanted = many.generate_many(PROMPTS, max_tokens=12, temperature=0.8, seed=3)

    async def main() -> list[Completion]:
        engine = AsyncEngine.of(many)
        with pytest.raises(InvalidArgument, match=r"prompts\[1\] is empty"):
            await engine.generate_many(["a", ""])
        with pytest.raises(ZeroDivisionError):
            await engine.generate_many([[5], [6]], logits_processor=failing_after(6, 2))
        return await engine.generate_many(PROMPTS, max_tokens=12, temperature=0.8, seed=3)

    found = asyncio.run(asyncio.wait_for(main(), 120))
    for index, prompt in enumerate(PROMPTS):
        request = {"prompt": prompt, "temperature": 0.8, "seed": 3 + index}
        check(many, request, wanted[index], found[index])


def test_cancelling_the_task_cancels_all_texts(many: Engine) -> None:
    reached = threading.Event()

    def tell(_: Any, scores: Any) -> Any:
        reached.set()
        return scores

    async def main() -> None:
        engine = AsyncEngine.of(many)
        before = many.stats.n_generations
        call = engine.generate_many(["x"] * 30, logits_processor=tell, logit_bias=ENDLESS)
        task = asyncio.create_task(call)
        await asyncio.to_thread(reached.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len((await engine.complete("x", max_tokens=2)).tokens) == 2
        # Those that ran, one that waited, and perhaps one that had ended before.
        assert many.stats.n_generations - before <= many.n_parallel + 3

    asyncio.run(asyncio.wait_for(main(), 120))
