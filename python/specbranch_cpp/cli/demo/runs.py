"""Runs every mode on the same texts, in turns, and compares the modes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.cli.render import ratio
from specbranch_cpp.simulation import MODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.results import Completion, GenerationStats

WARM_TOKENS = 8


@dataclass(frozen=True)
class ModeRuns:
    """The runs of one mode: one run for each round.

    Attributes:
        mode: name of the mode.
        completions: the text of each round.
        ratios: for each round, the speed divided by that of plain decoding of the same text.
        same_text: whether every text is equal to that of plain decoding.
    """

    mode: str
    completions: tuple[Completion, ...]
    ratios: tuple[float, ...]
    same_text: bool

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def tokens_per_second(self) -> float:
        """The median of the decoding speeds."""
        return statistics.median(each.tokens_per_second for each in self._stats)

    @property
    def tokens_per_step(self) -> float:
        return self._share("n_generated", "n_target_steps")

    @property
    def acceptance_rate(self) -> float | None:
        """Share of the drafted tokens that were accepted. ``None``: no token was drafted."""
        return self._share("n_accepted", "n_drafted") if self._sum("n_drafted") else None

    @property
    def rollback_rate(self) -> float | None:
        """Share of the drafted tokens that were rolled back. ``None``: no token was drafted."""
        return self._share("n_rolled_back", "n_drafted") if self._sum("n_drafted") else None

    @property
    def overlap(self) -> float | None:
        """Share of the time in which both models computed. ``None``: no token was drafted."""
        return self._share("overlap_ms", "decode_ms") if self._sum("n_drafted") else None

    @property
    def step_ms(self) -> float:
        """The mean time of a target step, in milliseconds."""
        return self._share("target_busy_ms", "n_target_steps")

    @property
    def _stats(self) -> list[GenerationStats]:
        return [each.stats for each in self.completions]

    def _sum(self, name: str) -> float:
        return sum(float(getattr(each, name)) for each in self._stats)

    def _share(self, part: str, whole: str) -> float:
        return ratio(self._sum(part), self._sum(whole))


def measure(
    engine: Engine,
    prompts: Sequence[str],
    request: Mapping[str, Any],
    progress: Callable[[float], object],
    modes: Sequence[str] = MODES,
) -> list[ModeRuns]:
    """Runs every mode on every prompt, in turns, so that slow moments affect all modes.

    Args:
        engine: an engine with a draft.
        prompts: one prompt for each round.
        request: keywords of `Engine.generate`.
        progress: a function that is called with the finished share, 0 to 1.
        modes: the modes; the other modes are compared with the first mode.
    """
    engine.generate(prompts[0], **{**request, "max_tokens": WARM_TOKENS}).result()
    rounds: list[list[Completion]] = []
    for i, prompt in enumerate(prompts):
        done: list[Completion] = []
        for mode in modes:
            done.append(engine.generate(prompt, mode=mode, **request).result())
            progress((i + len(done) / len(modes)) / len(prompts))
        rounds.append(done)
    return compare(modes, rounds)


def compare(modes: Sequence[str], rounds: Sequence[Sequence[Completion]]) -> list[ModeRuns]:
    """The runs of each mode. A round has one completion for each mode."""
    found = []
    for i, mode in enumerate(modes):
        completions = tuple(each[i] for each in rounds)
        ratios = tuple(
            ratio(each[i].stats.tokens_per_second, each[0].stats.tokens_per_second)
            for each in rounds
        )
        same = all(each[i].tokens == each[0].tokens for each in rounds)
        found.append(ModeRuns(mode, completions, ratios, same))
    return found


def gaining(found: Sequence[ModeRuns]) -> ModeRuns | None:
    """The fastest mode, if it is faster than plain decoding."""
    best = max(found[1:], key=lambda each: each.ratio)
    return best if best.ratio > 1.0 else None
