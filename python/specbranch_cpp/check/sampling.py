"""Decodes short texts with a loaded pair, to record the draft's proposals and to measure times."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from specbranch_cpp import policies
from specbranch_cpp.check.report import ModeFigures
from specbranch_cpp.check.statistics import speedup_interval
from specbranch_cpp.errors import ContextOverflow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp.bench.placements import Placement
    from specbranch_cpp.check.report import Interval
    from specbranch_cpp.engine import Engine
    from specbranch_cpp.results import Completion, Trace

PLAIN = "autoregressive"
_LONGEST, _SHORTEST = 64, 24  # tokens of a text
_WARM_UP = 8  # tokens that are not counted
_MOST_TEXTS = 16
_PROBE_LENGTH = 2  # tokens to draft ahead while the acceptance rate is measured
_PROBE_SHARE = 0.35  # share of the time
_LEAST_TOKENS = 8  # smallest number of tokens of a text that counts


@dataclass(frozen=True)
class Sample:
    """The texts to decode, the limits of the engine, and the placements to compare; see
    `examine`."""

    prompts: Sequence[str]
    seconds: float
    temperature: float
    max_draft: int
    max_branches: int
    progress: Callable[[str, float], object]
    placements: Sequence[Placement] = ()


@dataclass(frozen=True)
class Sampler:
    """Decodes texts for a limited time.

    Attributes:
        engine: an engine with a draft.
        prompts: the prompts; the first that fit are used, in order.
        seconds: approximate time for all texts; at least one text is always decoded.
        temperature: temperature of all texts; each text has its own seed.
        tell: a function that is called with the current step and the share of the time that has
            passed.
    """

    engine: Engine
    prompts: Sequence[str]
    seconds: float
    temperature: float
    tell: Callable[[str, float], object]

    def n_tokens(self, target_ms: float) -> int:
        """The number of tokens of each text, so that four modes can decode about five texts."""
        affordable = 1000.0 * self.seconds / (4 * 5 * max(target_ms, 1e-3))
        room = self.engine.n_ctx // 2
        return max(1, min(_LONGEST, room, max(_SHORTEST, int(affordable))))

    def hop_us(self) -> float:
        """The coordination time between two target steps, without a draft.

        This also warms up the target.
        """
        for number in range(len(self.prompts)):
            done = self._decode(number, PLAIN, _WARM_UP)
            if done is not None and done.stats.n_target_steps:
                hop_ms = done.stats.coordination_ms / done.stats.n_target_steps
                return max(0.0, 1000.0 * hop_ms)
        return 0.0

    def probe(self, n_tokens: int) -> list[Trace]:
        """Asks the draft at every position of some texts.

        These texts are half as long as the measured texts.
        """
        begin = time.monotonic()
        found: list[Trace] = []
        for number in range(len(self.prompts)):
            passed = (time.monotonic() - begin) / self.seconds
            if found and (passed > _PROBE_SHARE or len(found) >= _MOST_TEXTS):
                break
            self.tell("asking the draft", passed)
            done = self._decode(number, "specbranch", (n_tokens + 1) // 2, probing=True)
            if done is not None and done.trace is not None:
                found.append(done.trace)
        return found

    def time(self, modes: Sequence[ModeFigures], n_tokens: int) -> Timing:
        """Decodes the same texts in these modes in turn. Every second text reverses the order."""
        timing = Timing()
        for mode in modes:  # these runs do not count: the first batch of a size is slow
            self._run(0, mode, _WARM_UP)
        begin = time.monotonic()
        share = self.seconds * (1.0 - _PROBE_SHARE)
        for number in range(len(self.prompts)):
            passed = time.monotonic() - begin
            enough = passed * (number + 1) > share * number  # another text would take too long
            if passed > share or timing.n_texts >= _MOST_TEXTS or (timing.n_texts and enough):
                break
            self.tell("timing", _PROBE_SHARE + (1 - _PROBE_SHARE) * min(1.0, passed / share))
            order = modes if number % 2 == 0 else modes[::-1]
            runs = {mode.mode: self._run(number, mode, n_tokens) for mode in order}
            timing.add(runs)
        return timing

    def _run(self, number: int, mode: ModeFigures, n_tokens: int) -> Completion | None:
        return self._decode(number, mode.mode, n_tokens, mode)

    def _decode(
        self,
        number: int,
        mode: str,
        n_tokens: int,
        figures: ModeFigures | None = None,
        *,
        probing: bool = False,
    ) -> Completion | None:
        """``None``: the prompt does not fit into the context."""
        policy: policies.BuiltIn | None = policies.Fixed(_PROBE_LENGTH) if probing else None
        max_branches = max_draft = None
        if figures is not None and mode not in (PLAIN, "auto"):
            gamma = figures.gamma or 1
            epsilon = figures.epsilon
            policy = policies.Fixed(gamma) if epsilon is None else policies.Confidence(epsilon)
            max_branches, max_draft = figures.max_branches, gamma
        try:
            return self.engine.generate(
                self.prompts[number],
                max_tokens=n_tokens,
                temperature=self.temperature,
                seed=number,
                mode=mode,
                lookup=False,  # the question is what the draft brings
                policy=policy,
                max_branches=max_branches,
                max_draft=max_draft,
                trace=probing,
            ).result()
        except ContextOverflow:
            return None


@dataclass
class Timing:
    """The times of the texts in each mode."""

    n_texts: int = 0
    n_same: int = 0
    ms_per_token: dict[str, list[float]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    mode_reason: dict[str, str] = field(default_factory=dict)

    def add(self, runs: dict[str, Completion | None]) -> None:
        """The runs of one text by mode. A text that is missing or ends at once does not count."""
        done_runs = {mode: done for mode, done in runs.items() if done is not None}
        if len(done_runs) < len(runs):
            return
        if min(done.stats.n_generated for done in done_runs.values()) < _LEAST_TOKENS:
            return
        self.n_texts += 1
        self.n_same += len({done.tokens for done in done_runs.values()}) == 1
        for mode, done in done_runs.items():
            stats = done.stats
            self.tokens[mode] = self.tokens.get(mode, 0) + stats.n_generated
            self.steps[mode] = self.steps.get(mode, 0) + stats.n_target_steps
            each = self.ms_per_token.setdefault(mode, [])
            each.append(stats.decode_ms / stats.n_generated)
            self.mode_reason[mode] = stats.mode_reason

    def speedup(self, mode: str) -> Interval | None:
        """The speed-up over `autoregressive` in the texts. ``None``: there was no text."""
        plain, others = self.ms_per_token.get(PLAIN), self.ms_per_token.get(mode)
        if not plain or not others:
            return None
        return speedup_interval([a / b for a, b in zip(plain, others, strict=True)])

    def fill_in(self, mode: ModeFigures) -> ModeFigures:
        """The figures with the measured values of the mode, if it was measured."""
        if not self.steps.get(mode.mode):
            return mode
        return replace(
            mode,
            measured=self.speedup(mode.mode),
            tokens_per_step=self.tokens[mode.mode] / self.steps[mode.mode],
            mode_reason=self.mode_reason[mode.mode],
        )

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of `autoregressive`; 0: there was no text."""
        plain = self.ms_per_token.get(PLAIN, [])
        return 1000.0 * len(plain) / sum(plain) if plain else 0.0
