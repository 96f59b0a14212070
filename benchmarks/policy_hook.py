#!/usr/bin/env python3
"""What a policy written in Python costs a round, beyond its own code.

A pair of fakes whose steps take a known time decodes the same text with `Fixed` and with a policy
that always answers the same plan, so that both do the same rounds; the difference of the decoding
times is the price. It drowns in noise where cores are busy; the processor time that the hook takes
on the reader's thread, what follows from the answer included, is measured apart. Beyond it the
reader must be woken, and the models afterwards.

    benchmarks/policy_hook.py --rounds 2000
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from specbranch_cpp import Engine, _core, policies
from specbranch_cpp._engine import user_policy

LETTERS = [bytes([byte]) for byte in b"abcdefghijklmnopqrstuvwxyz .,;\n-"]


class NoOp:
    """Asks for what `Fixed(4)` does."""

    def __init__(self) -> None:
        self.answer = policies.Plan(4)
        self.n_plans = 0

    def plan(self, _round: policies.RoundState, /) -> policies.Plan:
        self.n_plans += 1
        return self.answer

    def observe(self, _outcome: policies.RoundOutcome, /) -> None:
        pass


def make_engine(target_us: int, draft_us: int, n_ctx: int) -> Engine:
    sides = []
    for step_us in (target_us, draft_us):
        options = _core._FakeOptions()
        options.n_vocab, options.n_ctx, options.step_us = len(LETTERS), n_ctx, step_us
        sides.append(options)
    return Engine._from_core(_core._fake_engine(sides[0], sides[1], LETTERS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="about so many, a repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--target-us", type=int, default=1000)
    parser.add_argument("--draft-us", type=int, default=100)
    parser.add_argument("--mode", default="pearl", choices=["speculative", "pearl"])
    given = parser.parse_args()

    inside: list[float] = []
    serve = user_policy.Hook.serve

    def timed(hook: user_policy.Hook, question: Any, core: Any) -> None:
        begin = time.thread_time()
        serve(hook, question, core)
        inside.append(time.thread_time() - begin)

    user_policy.Hook.serve = timed  # type: ignore[assignment,method-assign]
    n_tokens = 3 * given.rounds
    differences = []
    skipped = rounds = 0
    with make_engine(given.target_us, given.draft_us, n_tokens + 16) as engine:
        for _ in range(given.repetitions):
            per_round = []
            for policy in (policies.Fixed(4), NoOp()):
                done = engine.generate("abc", max_tokens=n_tokens, mode=given.mode, policy=policy)
                stats = done.result().stats
                per_round.append(1000.0 * stats.decode_ms / stats.n_target_steps)
            differences.append(per_round[1] - per_round[0])
            skipped += stats.policy_skipped
            rounds += stats.n_target_steps
    print(
        json.dumps(
            {
                "mode": given.mode,
                "rounds": rounds,
                "skipped": skipped,
                "us_on_the_readers_thread": round(1e6 * statistics.median(inside), 2),
                "us_a_round_median": round(statistics.median(differences), 2),
                "us_a_round": [round(difference, 2) for difference in differences],
            }
        )
    )


if __name__ == "__main__":
    main()
