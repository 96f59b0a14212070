"""What a generation gives back."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from specbranch_cpp._support.core_fields import copied
from specbranch_cpp.timeline import Span, Trace, TraceRound

if TYPE_CHECKING:
    from specbranch_cpp import _core

__all__ = [
    "Chunk",
    "Completion",
    "EngineStats",
    "FinishReason",
    "GenerationStats",
    "Origin",
    "Span",
    "StepCosts",
    "TokenLogprobs",
    "Trace",
    "TraceRound",
]

Origin = Literal["target", "draft", "branch"]
"""Who had a token first: the target; the draft, on the path that was verified; or the draft, on a
branch that the target took (a branch hit)."""

FinishReason = Literal["stop", "length", "cancelled"]
"""Why a text ended: an end token, a stop string or a grammar with nothing left to say; a limit
(``max_tokens``, the context); or a cancel."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """How probable the target found one token of the text.

    Attributes:
        token: the token's id.
        logprob: natural logarithm of its probability under the target's raw scores, before
            temperature, penalties, bias and truncation.
        top: the most probable tokens at that position and their log-probabilities, best first, as
            many as ``logprobs`` asked for.
    """

    token: int
    logprob: float
    top: dict[int, float]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the text: one token, or at the very end what was held back.

    Attributes:
        text: what the token adds; empty while a stop string or a character of several bytes may
            not be complete.
        token: the token's id; None in the last chunk.
        from_draft: the draft had proposed the token.
        logprob: see `TokenLogprobs`; None unless ``logprobs`` asked for it.
        finish_reason: set in the last chunk only.
        origin: ``"target"``, ``"draft"`` or ``"branch"``: see `Origin`.
        top: as in `TokenLogprobs`; None unless ``logprobs`` asked for it.
    """

    text: str
    token: int | None
    from_draft: bool
    logprob: float | None = None
    finish_reason: FinishReason | None = None
    origin: Origin = "target"
    top: dict[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole text.

    Attributes:
        text: cut before the stop string, if one ended it.
        tokens: the ids, up to the one that completes a stop string; an end token is not in it.
        finish_reason: why it ended.
        logprobs: one entry a token; None unless asked for.
        stats: what it cost.
        trace: what each model did when; None unless asked for.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] | None
    stats: GenerationStats
    trace: Trace | None = None

    def __str__(self) -> str:
        return self.text


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class GenerationStats:
    """What one generation did and what it cost. Times are in milliseconds.

    A drafted token is one on the draft's main path, or on a branch that survived a verification;
    ``n_drafted == n_accepted + n_rolled_back + n_unresolved``.

    Attributes:
        mode: how it was decoded.
        seed: key of the noise: the same seed, prompt and settings give the same text.
        n_prompt: tokens of the prompt.
        n_reused: those of them that the target did not compute again.
        n_generated: tokens of the text.
        n_target_steps: forward passes of the target, the prompt's not among them.
        n_draft_steps: forward passes of the draft.
        n_drafted: see above.
        n_accepted: drafted and part of the text.
        n_rolled_back: drafted in vain, because of a rejection or a policy's cut.
        n_unresolved: drafted beyond the end of the text.
        n_all_drafted: every token that the draft computed, on any branch.
        acceptance_histogram: at index i the number of target steps that accepted i tokens.
        branch_hits: the target's own token after the accepted ones was a drafted branch.
        branch_misses: it was not, and the draft began anew.
        policy_skipped: rounds that a policy written in Python missed because nobody was reading;
            the built-in rule did them.
        prefill_ms: for the prompt.
        decode_ms: for the text.
        target_busy_ms: the target computing, within ``decode_ms``, as are the next ones.
        draft_busy_ms: the draft computing.
        target_idle_ms: the rest of ``decode_ms``: the target had nothing to compute, or the engine
            had not told it yet.
        draft_idle_ms: likewise; 0 if the draft took no part.
        overlap_ms: both computing.
        coordination_ms: neither computing.
        why: why the engine decoded otherwise than asked; empty if it did not.
    """

    mode: str
    seed: int
    n_prompt: int
    n_reused: int
    n_generated: int
    n_target_steps: int
    n_draft_steps: int
    n_drafted: int
    n_accepted: int
    n_rolled_back: int
    n_unresolved: int
    n_all_drafted: int
    acceptance_histogram: tuple[int, ...]
    branch_hits: int
    branch_misses: int
    policy_skipped: int
    prefill_ms: float
    decode_ms: float
    target_busy_ms: float
    draft_busy_ms: float
    target_idle_ms: float
    draft_idle_ms: float
    overlap_ms: float
    coordination_ms: float
    why: str

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second of decoding, the prompt's time not counted."""
        return _ratio(1000.0 * self.n_generated, self.decode_ms)

    @property
    def mean_accepted_length(self) -> float:
        """M: tokens of the text per target step, the target's own among them."""
        return _ratio(self.n_generated, self.n_target_steps)

    @property
    def rollback_rate(self) -> float:
        """RB: share of the drafted tokens that were rolled back."""
        return _ratio(self.n_rolled_back, self.n_drafted)

    @property
    def rollback_per_token(self) -> float:
        """Rolled back tokens per token of the text."""
        return _ratio(self.n_rolled_back, self.n_generated)

    @property
    def draft_waste(self) -> float:
        """Share of all drafted tokens, on any branch, that did not become part of the text."""
        return _ratio(self.n_all_drafted - self.n_accepted, self.n_all_drafted)

    def as_dict(self) -> dict[str, Any]:
        """All attributes, the derived figures among them, by name."""
        derived = [name for name, value in vars(type(self)).items() if isinstance(value, property)]
        return {name: getattr(self, name) for name in [*(f.name for f in fields(self)), *derived]}

    @classmethod
    def _from_core(cls, stats: _core.Stats) -> GenerationStats:
        return copied(cls, stats, acceptance_histogram=tuple(stats.acceptance_histogram))

    def __str__(self) -> str:
        rows = {
            "mode": f"{self.mode} (seed {self.seed})",
            "prompt": f"{self.n_prompt} tokens, {self.n_reused} reused, {self.prefill_ms:.1f} ms",
            "text": f"{self.n_generated} tokens in {self.decode_ms:.1f} ms, "
            f"{self.tokens_per_second:.1f} tokens/s",
            "target": f"{self.n_target_steps} steps, {self.target_busy_ms:.1f} ms busy, "
            f"{self.target_idle_ms:.1f} ms idle, {self.mean_accepted_length:.2f} tokens a step",
        }
        if self.n_draft_steps:
            rows["draft"] = (
                f"{self.n_draft_steps} steps, {self.draft_busy_ms:.1f} ms busy "
                f"({self.overlap_ms:.1f} ms of them with the target), "
                f"{self.draft_idle_ms:.1f} ms idle"
            )
            rows["drafted"] = (
                f"{self.n_drafted}: {self.n_accepted} accepted, {self.n_rolled_back} rolled back "
                f"({self.rollback_rate:.0%}), {self.n_unresolved} unresolved"
            )
            rows["branches"] = (
                f"{self.branch_hits} hits, {self.branch_misses} misses, "
                f"{self.draft_waste:.0%} of all drafted tokens wasted"
            )
        if self.why:
            rows["why"] = self.why
        return "\n".join(f"{name:<9}{value}" for name, value in rows.items())


@dataclass(frozen=True)
class EngineStats:
    """Totals over the generations that have ended, those cancelled in the queue among them.

    Attributes:
        n_generations: so many have ended.
        n_generated: tokens of their texts.
        n_target_steps: forward passes of the target without those of prompts.
        n_drafted: as in `GenerationStats`, like the next two.
        n_accepted: those of them that became text.
        n_rolled_back: those that were dropped.
        decode_ms: milliseconds for the texts, without the prompts.
        warmup_ms: milliseconds of measuring while loading.
    """

    n_generations: int
    n_generated: int
    n_target_steps: int
    n_drafted: int
    n_accepted: int
    n_rolled_back: int
    decode_ms: float
    warmup_ms: float

    @classmethod
    def _from_core(cls, stats: _core.EngineStats) -> EngineStats:
        return copied(cls, stats)


@dataclass(frozen=True, slots=True)
class StepCosts:
    """What single steps of the two models take, each alone on the machine.

    Attributes:
        target_ms: at index n - 1, milliseconds of a verification of n tokens.
        draft_ms: at index b - 1, milliseconds of a pass of the draft over b branches.
        target_slowdown: how many times as long a step of the target takes while the draft runs
            too; at least 1.
        draft_slowdown: likewise of the draft.
        warmup_ms: what measuring took while loading; 0: the costs come from a profile.
    """

    target_ms: tuple[float, ...]
    draft_ms: tuple[float, ...]
    target_slowdown: float
    draft_slowdown: float
    warmup_ms: float

    @classmethod
    def _from_core(cls, costs: _core.StepCosts, warmup_ms: float) -> StepCosts | None:
        if not costs.known:
            return None
        return cls(
            tuple(us / 1000.0 for us in costs.target_us),
            tuple(us / 1000.0 for us in costs.draft_us),
            costs.target_slowdown,
            costs.draft_slowdown,
            warmup_ms,
        )
