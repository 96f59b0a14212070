"""What `examine` finds out about a pair."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Verdict(str, Enum):
    """Whether the draft is worth having on this machine."""

    HELPS = "helps"
    HELPS_LITTLE = "helps little"
    UNCLEAR = "unclear"
    DRAFT_WRONG = "does not help: the draft is wrong too often"
    DRAFT_SLOW = "does not help: the draft is too slow"
    VERIFYING_DEAR = "does not help: verifying several tokens costs too much"
    UNUSABLE = "cannot be used"
    NOT_MEASURED = "not measured"
    NO_DRAFT = "no draft"

    @property
    def useless(self) -> bool:
        """It was measured, and there is nothing to gain."""
        return self in (Verdict.DRAFT_WRONG, Verdict.DRAFT_SLOW, Verdict.VERIFYING_DEAR)


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; ``low`` and ``high`` are None where there is one value only."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ModelReport:
    """One model; memory in bytes.

    Attributes:
        path: of its file.
        name: ``general.name`` of the file.
        architecture: llama.cpp's name, such as ``"llama"``.
        quantization: type of the weights, such as ``"q8_0"``; ``"mostly ..."`` if there are others.
        n_parameters: numbers in its tensors.
        n_layers: blocks.
        n_vocab: tokens in its vocabulary.
        n_ctx_train: positions that it was trained for.
        n_cells: of its cache: tokens, for a draft with room for branches.
        weights: size of the weights.
        cache: of keys and values; 0: not known.
        buffers: of a forward pass, estimated.
        total: all three.
    """

    path: str
    name: str
    architecture: str
    quantization: str
    n_parameters: int
    n_layers: int
    n_vocab: int
    n_ctx_train: int
    n_cells: int
    weights: int
    cache: int
    buffers: int
    total: int


@dataclass(frozen=True)
class DeviceMemory:
    """What a pair needs of one device, in bytes.

    Attributes:
        name: of ggml (``"CUDA0"``), or ``"CPU"``; several GPUs over which layers are spread are
            one entry, their names joined.
        target: of the target, None: nothing of it is here.
        draft: of the draft.
        free: what can be had now; None: the system does not tell.
    """

    name: str
    target: int | None
    draft: int | None
    free: int | None

    @property
    def needed(self) -> int:
        """Of both models."""
        return (self.target or 0) + (self.draft or 0)


@dataclass(frozen=True)
class StepFigures:
    """What steps cost here, in milliseconds.

    Attributes:
        target_ms: a step of the target that decodes one token.
        draft_ms: a step of the draft.
        ratio: c, the first over the second.
        verify: tokens of a verification, and what it costs over a step of one token.
        target_slowdown: how many times as long a step takes while the other model works too.
        draft_slowdown: likewise.
        hop_us: microseconds of coordination a step.
        n_threads: of the target.
        draft_n_threads: of the draft.
    """

    target_ms: float
    draft_ms: float
    ratio: float
    verify: dict[int, float]
    target_slowdown: float
    draft_slowdown: float
    hop_us: float
    n_threads: int
    draft_n_threads: int


@dataclass(frozen=True)
class Acceptance:
    """How often the draft is right, over a sample of texts.

    Attributes:
        alpha: share of the places at which its first candidate was the target's choice; the
            interval comes from the spread over the texts.
        by_prompt: alpha in each text.
        by_rank: share of the places at which its first, second, .. candidate was, as many as the
            draft was asked for (``max_branches``).
        n_places: tokens of the texts about which the draft was asked.
    """

    alpha: Interval
    by_prompt: tuple[float, ...]
    by_rank: tuple[float, ...]
    n_places: int


@dataclass(frozen=True)
class ModeFigures:
    """One mode, with its best settings.

    Attributes:
        mode: its name.
        settings: in words.
        gamma: tokens drafted ahead at most; None: the mode does not draft.
        epsilon: least confidence at which the draft goes on; None: it does not look at it.
        max_branches: branches at most.
        expected: how many times as fast as ``autoregressive``, simulated; the interval comes from
            drawing other texts from the sample.
        measured: likewise, timed; None: it was not.
        tokens_per_step: M, tokens of the text a step of the target; simulated, unless it was timed.
        why: why ``auto`` decoded as it did, in the last text that was timed.
    """

    mode: str
    settings: str
    gamma: int | None
    epsilon: float | None
    max_branches: int
    expected: Interval
    measured: Interval | None = None
    tokens_per_step: float = 1.0
    mode_reason: str = ""


@dataclass(frozen=True)
class Needs:
    """What the draft would have to be for `auto` to gain a twentieth, the rest being as it is.

    Attributes:
        alpha: acceptance, at this draft's speed; None: none would do.
        ratio: c, at this draft's acceptance; None: none would do.
        cheap_verify: it would help if verifying several tokens cost no more than decoding one.
    """

    alpha: float | None
    ratio: float | None
    cheap_verify: bool


@dataclass(frozen=True)
class Measurement:
    """What was measured with both models loaded.

    Attributes:
        steps: what steps cost.
        acceptance: how often the draft is right.
        modes: expected and measured speed-ups; ``autoregressive`` first.
        needs: what would help; None if the pair does.
        tokens_per_second: of ``autoregressive``.
        n_prompts: texts that were timed.
        n_tokens: of each at most.
        temperature: at which they were decoded.
        same_tokens: texts in which every mode gave the same tokens.
        seconds: that it all took, loading not counted.
    """

    steps: StepFigures
    acceptance: Acceptance
    modes: tuple[ModeFigures, ...]
    needs: Needs | None
    tokens_per_second: float
    n_prompts: int
    n_tokens: int
    temperature: float
    same_tokens: int
    seconds: float


@dataclass(frozen=True)
class Advice:
    """What to use.

    Attributes:
        mode: of the `Engine`.
        options: other arguments of `Engine`, without a policy.
        python: a line that makes the engine.
        command: a line for a shell.
    """

    mode: str
    options: dict[str, Any]
    python: str
    command: str


@dataclass
class Report:
    """What was found. The pair can be used if there are no ``reasons`` against it.

    Attributes:
        fits: it can be used here.
        reasons: why not.
        notes: what is worth knowing besides.
        target: the target's file; None: it could not be read.
        draft: likewise.
        n_common: tokens that mean the same in both vocabularies.
        memory_needed: bytes of both, on all devices.
        memory_available: bytes that this process can get of the machine's own memory.
        devices: the same, device by device.
        cpu: ``"runs"``, ``"dies"`` or ``"unknown"``: llama.cpp's build on this CPU.
        gpus: in words.
        llama_cpp: versions.
        verdict: whether it is worth it.
        reason: why, with the figures that decide; one or two sentences.
        measurement: None: it was not measured.
        advice: None: there is nothing to load.
    """

    fits: bool = True
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    target: ModelReport | None = None
    draft: ModelReport | None = None
    n_common: int | None = None
    memory_needed: int | None = None
    memory_available: int | None = None
    devices: list[DeviceMemory] = field(default_factory=list)
    cpu: str = "unknown"
    gpus: list[str] = field(default_factory=list)
    llama_cpp: dict[str, str] = field(default_factory=dict)
    verdict: Verdict = Verdict.NOT_MEASURED
    reason: str = ""
    measurement: Measurement | None = None
    advice: Advice | None = None

    def object_to(self, reason: str) -> None:
        """Adds a reason why it cannot be used."""
        self.fits = False
        self.reasons.append(reason)
