"""Engines of `specbranch bench` that decode nothing, on a machine whose speed wanders.

All times are virtual. The true speed-ups are known, because the time of a round and the number of
its tokens are drawn from known distributions.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from types import TracebackType
from typing import Any

from specbranch_cpp.bench import windows
from specbranch_cpp.bench.group_engines import MeasuredText
from specbranch_cpp.bench.placements import Placement
from specbranch_cpp.bench.plan import BenchGroup, BenchPlan, ModelPair
from specbranch_cpp.bench.prompts import PromptSet
from specbranch_cpp.bench.turns import Stretch
from specbranch_cpp.bench.variants import BASE, Variant
from specbranch_cpp.results import Trace, TraceRound

STEP_MS = 60.0
TOKENS = 128


class Clock:
    """A virtual clock of a machine whose speed wanders by 30 %, with periods of minutes."""

    def __init__(self, seed: int, *, wander: float = 0.3) -> None:
        draw = random.Random(seed)
        self.now_ms = 0.0
        self._draw = draw
        self._waves = [
            (wander / 2.0, draw.uniform(60e3, 120e3), draw.uniform(0.0, 2.0 * math.pi)),
            (wander / 2.0, draw.uniform(120e3, 400e3), draw.uniform(0.0, 2.0 * math.pi)),
        ]

    def spend(self, ms: float) -> None:
        """The time passes that work of so many milliseconds takes now, with 3 % of jitter."""
        level = sum(
            size * math.sin(2.0 * math.pi * self.now_ms / period + phase)
            for size, period, phase in self._waves
        )
        self.now_ms += ms * math.exp(level + self._draw.gauss(0.0, 0.03))


def length_of(variant: Variant) -> int:
    """Tokens that a round drafts. `auto` drafts 4."""
    return 0 if variant.mode == BASE else variant.draft_length or 4


def round_ms(variant: Variant) -> float:
    """The time of a round on a quiet machine."""
    return STEP_MS * (1.0 + 0.12 * length_of(variant))


def round_tokens(variant: Variant) -> tuple[int, ...]:
    """The numbers of tokens of a round, all equally probable."""
    length = length_of(variant)
    middle = 1 + length // 2
    return (middle - 1, middle, middle + 1) if length else (1,)


def true_speedup(variant: Variant) -> float:
    """The speed-up over `autoregressive`, on texts of `TOKENS` tokens on a quiet machine."""
    n_rounds = [0.0]  # the expected number that so many tokens need
    for n in range(1, TOKENS + 1):
        sizes = round_tokens(variant)
        n_rounds.append(1.0 + sum(n_rounds[max(0, n - k)] for k in sizes) / len(sizes))
    return STEP_MS * TOKENS / (round_ms(variant) * n_rounds[TOKENS])


class VirtualEngines:
    """Stands for `GroupEngines`. The text is the numbers 0, 1, 2, ...; it ends at `text_end`."""

    clock = Clock(0)
    text_end = 10**9
    calls: list[tuple[Variant, int, Stretch | None]] = []  # noqa: RUF012 - set by each test

    def __init__(self, plan: BenchPlan, group: BenchGroup) -> None:  # noqa: ARG002
        self._plan = plan
        self._draw = random.Random(plan.seed)
        self.engine: Any = self
        self.costs = None

    def tokenize(self, text: str) -> list[int]:
        return [int(text)]

    def measure(
        self,
        variant: Variant,
        prompt: list[int],
        temperature: float,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        stretch: Stretch | None = None,
    ) -> MeasuredText:
        begun = len(prompt) - 1
        assert begun == (0 if stretch is None else stretch.start)
        self.calls.append((variant, begun, stretch))
        room = min(self._plan.tokens, self.text_end) - begun
        wanted = room if stretch is None or stretch.stop is None else stretch.stop - begun
        sizes = round_tokens(variant)
        begin_ms = self.clock.now_ms
        rounds: list[TraceRound] = []
        n = 0
        while n < min(wanted, room):
            self.clock.spend(round_ms(variant))
            accepted = min(self._draw.choice(sizes), room - n) - 1
            committed = tuple(range(begun + n, begun + n + accepted + 1))
            n += len(committed)
            at_ms = self.clock.now_ms - begin_ms
            rounds.append(TraceRound(at_ms, accepted, committed, (), False, branch_miss=True))
        ended = n == room
        stats: dict[str, Any] = {
            "mode": variant.mode,
            "n_generated": n,
            "n_target_steps": len(rounds),
            "n_draft_steps": 0,
            "prefill_ms": 0.0,
            "decode_ms": self.clock.now_ms - begin_ms,
            "target_busy_ms": self.clock.now_ms - begin_ms,
            "finish_reason": "cancelled" if not ended
            else "length" if self._plan.tokens <= self.text_end else "stop",
        }  # fmt: skip
        if stretch is not None:
            stats = windows.windowed(stats, Trace((), tuple(rounds)), stretch)
        return MeasuredText(tuple(range(begun, begun + n)), stats)

    def gap(self, *_: Any) -> float | None:
        return None

    def trace(self, *_: Any) -> Trace:
        return Trace((), ())

    def __enter__(self) -> VirtualEngines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


def virtual_plan(variants: tuple[Variant, ...], n_prompts: int, **changes: Any) -> BenchPlan:
    """A plan for `VirtualEngines`."""
    about = {"name": "virtual", "sha256": "00"}
    settings: dict[str, Any] = {"tokens": TOKENS, **changes}
    return BenchPlan(
        pairs=(ModelPair(Path("t"), Path("d"), about, about),),
        prompt_sets=(PromptSet("some", {n: str(n) for n in range(n_prompts)}, "00"),),
        variants=variants,
        placements=(Placement("shared", {}),),
        **settings,
    )
