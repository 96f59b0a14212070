"""The results of a generation, and figures of an engine."""

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
    "ExactRows",
    "FinishReason",
    "GenerationStats",
    "LoraAdapter",
    "ModelPlacement",
    "Origin",
    "PairPlacement",
    "Span",
    "StepCosts",
    "TokenLogprobs",
    "Trace",
    "TraceRound",
]

Origin = Literal["target", "draft", "branch"]
"""Who proposed a token first: the target; the draft or a text, on the verified path; or the draft
or a text, on a branch that contains the target's token (a branch hit)."""

FinishReason = Literal["stop", "length", "cancelled"]
"""Why a text ended. ``"stop"``: an end token, a stop token, a stop string, a stopping criterion, or
no allowed token, as at the end of a grammar.
``"length"``: ``max_tokens`` or the context is reached. ``"cancelled"``: the generation was
cancelled."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The probability that the target gives to one token of the text.

    Attributes:
        token: the token's id.
        logprob: natural logarithm of the token's probability, computed from the target's logits
            before temperature, penalties, bias and truncation.
        top: the most probable tokens at that position with their log-probabilities, most probable
            first. ``logprobs`` of the call gives their number.
    """

    token: int
    logprob: float
    top: dict[int, float]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the text: one token, or at the end the text that was held back.

    Attributes:
        text: the text that this token completes. Empty while a stop string, or a character of
            several bytes, may still be incomplete.
        token: the token's id. ``None`` in the last chunk.
        from_draft: whether the draft, or a text, proposed the token.
        logprob: see `TokenLogprobs`. ``None`` without ``logprobs``.
        finish_reason: set in the last chunk only.
        origin: ``"target"``, ``"draft"`` or ``"branch"``: see `Origin`.
        top: see `TokenLogprobs`. ``None`` without ``logprobs``.
        stop: in the last chunk, the stop string that ended the text. ``None``: none did.
    """

    text: str
    token: int | None
    from_draft: bool
    logprob: float | None = None
    finish_reason: FinishReason | None = None
    origin: Origin = "target"
    top: dict[int, float] | None = None
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole text.

    Attributes:
        text: the text, without the stop string that ended it.
        tokens: the token ids, with the token that completes a stop string, but without an end
            token.
        finish_reason: why the text ended: see `FinishReason`.
        logprobs: one entry for each token. ``None`` without ``logprobs``.
        stats: the statistics of the generation.
        trace: what each model did at which time. ``None`` without ``trace=True``.
        prompt_logprobs: one entry for each token of the prompt; the first one is ``None``. After a
            cancel there may be fewer entries. ``None`` without ``prompt_logprobs``.
        stop: the stop string that ended the text. ``None``: none did.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] | None
    stats: GenerationStats
    trace: Trace | None = None
    prompt_logprobs: tuple[TokenLogprobs | None, ...] | None = None
    stop: str | None = None

    def __str__(self) -> str:
        return self.text


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class GenerationStats:
    """The statistics of one generation. Times are in milliseconds.

    Drafted tokens are the tokens on the main path of the draft tree, and the tokens on a branch
    that survived a verification. The draft model, a text or the grammar proposed them.
    ``n_drafted`` is the sum of ``n_accepted``, ``n_rolled_back`` and ``n_unresolved``.

    Attributes:
        mode: the mode that was used.
        seed: key of the noise: the same seed, prompt and settings give the same text.
        n_prompt: number of tokens in the prompt.
        n_reused: number of prompt tokens that the target did not compute again.
        n_generated: number of tokens in the text.
        n_target_steps: number of the target's forward passes, without those for the prompt and
            without a pass that was aborted. A pass that came too late, because the text had ended,
            counts.
        n_draft_steps: number of the draft's forward passes.
        n_drafted: number of drafted tokens, as defined above.
        n_accepted: number of drafted tokens that became text.
        n_rolled_back: number of drafted tokens that were rolled back after a rejection or a
            policy's cut.
        n_unresolved: number of drafted tokens after the end of the text.
        n_all_drafted: number of tokens that were drafted on all branches.
        n_lookup_drafted: number of drafted tokens that a text proposed: the prompt, the answer so
            far, the prediction, the corpus, or an earlier answer.
        n_lookup_accepted: number of them that became text.
        n_forced_drafted: number of drafted tokens about which the grammar left no choice.
        n_forced_accepted: number of them that became text.
        n_prediction_accepted: number of tokens of the prediction that were drafted and became text.
        n_prediction_rejected: number of tokens of the prediction that were drafted and rolled back.
        acceptance_histogram: at index i, the number of target steps that accepted i tokens of the
            path that they verified. A branch hit is not counted there, but it is one more of
            ``n_accepted``. Empty in mode ``autoregressive``.
        branch_hits: number of verifications whose last committed token was in the draft tree, but
            was not verified: on a branch, or next on a path that was accepted as a whole.
        branch_misses: number of verifications that rejected drafted tokens, and whose last
            committed token was not in the draft tree, so that the draft starts again. A step after
            which nothing was drafted is neither a hit nor a miss.
        policy_skipped: number of rounds in which the built-in rule decided instead of a Python
            policy, because no thread was reading.
        prefill_ms: time for the prompt.
        decode_ms: time for the text.
        target_busy_ms: time within ``decode_ms`` in which the target computed.
        draft_busy_ms: time within ``decode_ms`` in which the draft computed.
        target_idle_ms: ``decode_ms - target_busy_ms``: the target had no work, or its thread had
            not received the work yet.
        draft_idle_ms: ``decode_ms - draft_busy_ms``; 0 if the draft was not used.
        overlap_ms: time in which both models computed.
        coordination_ms: time in which neither model computed.
        n_processor_calls: number of positions at which the caller's logits processors, masks and
            stopping criteria were called. A position whose masks were evaluated ahead counts twice.
        processor_ms: time that these functions took.
        processor_wait_ms: time in which the target waited for them. It is less than
            ``processor_ms`` if masks were evaluated while the target computed.
        n_tree_steps: number of target steps that verified a tree: a path, and branches beside it.
        n_branch_verified: number of tokens on these branches.
        n_branches_taken: number of target steps whose text left the path for such a branch.
        n_branch_accepted: number of tokens on these branches that became text. Without the branches
            the steps would have given fewer tokens by this number.
        mode_reason: in ``"auto"`` the last decision (``autoregressive``, ``serial`` or
            ``overlapped``) and the figures behind it. In other modes: why the engine did not decode
            as the mode says; empty if it did.
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
    n_lookup_drafted: int
    n_lookup_accepted: int
    n_forced_drafted: int
    n_forced_accepted: int
    n_prediction_accepted: int
    n_prediction_rejected: int
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
    mode_reason: str
    n_processor_calls: int = 0
    processor_ms: float = 0.0
    processor_wait_ms: float = 0.0
    n_tree_steps: int = 0
    n_branch_verified: int = 0
    n_branches_taken: int = 0
    n_branch_accepted: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second of decoding, without the time for the prompt."""
        return _ratio(1000.0 * self.n_generated, self.decode_ms)

    @property
    def mean_accepted_length(self) -> float:
        """M: tokens of the text per target step, including the target's own token."""
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
        """Share of the tokens drafted on all branches that did not become text."""
        return _ratio(self.n_all_drafted - self.n_accepted, self.n_all_drafted)

    def as_dict(self) -> dict[str, Any]:
        """All attributes and derived figures by name."""
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
            f"{self.target_idle_ms:.1f} ms idle, {self.mean_accepted_length:.2f} tokens per step",
        }
        if self.n_draft_steps:
            rows["draft"] = (
                f"{self.n_draft_steps} steps, {self.draft_busy_ms:.1f} ms busy "
                f"({self.overlap_ms:.1f} ms of them with the target), "
                f"{self.draft_idle_ms:.1f} ms idle"
            )
        if self.n_draft_steps or self.n_drafted:
            rows["drafted"] = (
                f"{self.n_drafted}: {self.n_accepted} accepted, {self.n_rolled_back} rolled back "
                f"({self.rollback_rate:.0%}), {self.n_unresolved} unresolved"
            )
        if self.n_lookup_drafted:
            rows["lookup"] = (
                f"{self.n_lookup_drafted} of them from texts: {self.n_lookup_accepted} accepted"
            )
        if self.n_forced_drafted:
            rows["forced"] = (
                f"{self.n_forced_drafted} of them by the grammar: {self.n_forced_accepted} accepted"
            )
        if self.n_draft_steps:
            rows["branches"] = (
                f"{self.branch_hits} hits, {self.branch_misses} misses, "
                f"{self.draft_waste:.0%} of all drafted tokens wasted"
            )
        if self.n_tree_steps:
            rows["trees"] = (
                f"{self.n_tree_steps} steps verified {self.n_branch_verified} tokens on branches: "
                f"{self.n_branch_accepted} accepted in {self.n_branches_taken} steps"
            )
        if self.n_processor_calls:
            rows["processors"] = (
                f"{self.n_processor_calls} calls, {self.processor_ms:.1f} ms, the target waited "
                f"{self.processor_wait_ms:.1f} ms"
            )
        if self.mode_reason:
            rows["mode_reason"] = self.mode_reason
        return "\n".join(f"{name:<8} {value}" for name, value in rows.items())


@dataclass(frozen=True)
class EngineStats:
    """Totals over all generations that have ended, including those cancelled in the queue.

    Attributes:
        n_generations: number of generations that have ended.
        n_generated: number of tokens in their texts.
        n_target_steps: number of the target's forward passes, as in `GenerationStats`. A pass that
            several texts share counts for each of them.
        n_drafted: number of drafted tokens, as in `GenerationStats`.
        n_accepted: number of drafted tokens that became text.
        n_rolled_back: number of drafted tokens that were rolled back.
        decode_ms: milliseconds for the texts, without the prompts.
        measure_costs_ms: milliseconds for the measurement of step costs while loading.
    """

    n_generations: int
    n_generated: int
    n_target_steps: int
    n_drafted: int
    n_accepted: int
    n_rolled_back: int
    decode_ms: float
    measure_costs_ms: float

    @classmethod
    def _from_core(cls, stats: _core.EngineStats) -> EngineStats:
        return copied(cls, stats)


@dataclass(frozen=True, slots=True)
class StepCosts:
    """The time of single steps of each model, while the other model is idle.

    Attributes:
        target_ms: at index n - 1, milliseconds of a verification of n tokens.
        draft_ms: at index b - 1, milliseconds of a draft pass over b branches; empty without a
            draft.
        target_slowdown: the time of a target step while the draft runs, divided by its time alone;
            at least 1.
        draft_slowdown: the same ratio for a draft step while the target runs.
        measure_costs_ms: milliseconds of the measurement while loading; 0: the costs come from a
            profile.
    """

    target_ms: tuple[float, ...]
    draft_ms: tuple[float, ...]
    target_slowdown: float
    draft_slowdown: float
    measure_costs_ms: float

    @classmethod
    def _from_core(cls, costs: _core.StepCosts, measure_costs_ms: float) -> StepCosts | None:
        of_target = measure_costs_ms > 0 and costs.target_us and not costs.draft_us
        if not (costs.known or of_target):
            return None
        return cls(
            tuple(us / 1000.0 for us in costs.target_us),
            tuple(us / 1000.0 for us in costs.draft_us),
            costs.target_slowdown,
            costs.draft_slowdown,
            measure_costs_ms,
        )


@dataclass(frozen=True, slots=True)
class ExactRows:
    """How an engine with ``bit_exact=True`` gives every token the same logits in every mode.

    llama.cpp computes a batch of one token and batches of several tokens with different kernels,
    which round differently. The engine tests which batches agree, and decodes no others. It takes
    the padding with the longest verifications, where more than 6 tokens count as 6; among equals
    the one whose steps are fastest.

    Attributes:
        multiple: dummy tokens fill each batch up to a multiple of this number; 1: no dummy tokens.
        max_path: the largest number of tokens of a verification, without dummy tokens.
        repacked: whether llama.cpp has repacked the weights (`Model.use_extra_bufts`). If the test
            finds longer verifications without repacking, the engine turns it off.
    """

    multiple: int
    max_path: int
    repacked: bool

    @classmethod
    def _from_core(cls, found: _core.ExactRows | None) -> ExactRows | None:
        if found is None:
            return None
        return cls(found.padding.multiple, found.padding.max_path, found.repacked)


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A LoRA adapter of an engine's target.

    Attributes:
        name: the name of the file without ``.gguf``; `Engine.generate` takes it.
        path: the path that the engine was given.
        scale: the scale in calls without ``lora``.
        rank: the largest rank of its matrices.
        alpha: the adapter adds ``scale * alpha / rank`` times its matrices; 0: ``scale`` times.
        n_bytes: the bytes of its matrices.
        task_name: the task that the file names; may be empty.
        prompt_prefix: the prefix of prompts that the file names; may be empty. The engine does not
            add it to prompts.
    """

    name: str
    path: str
    scale: float
    rank: int
    alpha: float
    n_bytes: int
    task_name: str = ""
    prompt_prefix: str = ""


@dataclass(frozen=True, slots=True)
class ModelPlacement:
    """Where one model runs.

    Attributes:
        n_gpu_layers: number of layers on GPUs; the output counts as one layer. 0: the model runs on
            the CPU.
        n_layers: number of all layers: the blocks and the output.
        memory: bytes of the model and its context by place: ``"CPU"`` for main memory, including
            weights that are mapped from the file, then each GPU with layers.
    """

    n_gpu_layers: int
    n_layers: int
    memory: dict[str, int]


@dataclass(frozen=True, slots=True)
class PairPlacement:
    """Where the models of an engine run.

    Attributes:
        target: the target.
        draft: the draft. ``None``: the engine has no draft, or the draft's memory is not known.
    """

    target: ModelPlacement
    draft: ModelPlacement | None
