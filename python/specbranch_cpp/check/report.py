"""The results of `examine`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Verdict(str, Enum):
    """Whether the draft helps on this machine."""

    HELPS = "helps"
    HELPS_LITTLE = "helps little"
    UNCLEAR = "unclear"
    DRAFT_WRONG = "does not help: the draft is wrong too often"
    DRAFT_SLOW = "does not help: the draft is too slow"
    VERIFICATION_SLOW = "does not help: verifying several tokens costs too much"
    UNUSABLE = "cannot be used"
    NOT_MEASURED = "not measured"
    NO_DRAFT = "no draft"

    @property
    def useless(self) -> bool:
        """True if the draft was measured and does not help."""
        return self in (Verdict.DRAFT_WRONG, Verdict.DRAFT_SLOW, Verdict.VERIFICATION_SLOW)


@dataclass(frozen=True)
class Interval:
    """A mean and its interval: 95 %, unless the field that has it says otherwise.

    ``low`` and ``high`` are ``None`` if there is only one value.
    """

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ModelReport:
    """One model; memory in bytes.

    Attributes:
        path: path of the file.
        name: ``general.name`` of the file.
        architecture: llama.cpp's name, such as ``"llama"``.
        quantization: type of the weights, such as ``"q8_0"``; ``"mostly ..."`` if the file has
            several types.
        n_parameters: number of parameters.
        n_layers: number of blocks.
        n_vocab: number of tokens in the vocabulary.
        n_ctx_train: number of positions in the training.
        n_cells: number of cells of the KV cache; for a draft, with room for branches.
        weights: size of the weights and of the LoRA adapters.
        cache: size of the KV cache and of recurrent states, with the copies that prompts leave.
        buffers: size of the buffers of a forward pass, and of the logits.
        total: sum of the three sizes.
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
class AdapterReport:
    """A LoRA adapter of the target.

    Attributes:
        path: path of the file.
        name: ``general.name`` of the file.
        scale: the scale that was asked for.
        rank: the largest rank of its matrices.
        alpha: the adapter adds ``scale * alpha / rank`` times its matrices; 0: ``scale`` times.
        n_matrices: number of the target's matrices that it changes.
        n_bytes: bytes of its matrices.
    """

    path: str
    name: str
    scale: float
    rank: int
    alpha: float
    n_matrices: int
    n_bytes: int


@dataclass(frozen=True)
class DeviceMemory:
    """The memory that a pair needs on one device, in bytes.

    Attributes:
        name: ggml's name (``"CUDA0"``), or ``"CPU"`` for main memory.
        target: memory of the target. ``None``: the device holds no part of the target.
        draft: memory of the draft. ``None``: the device holds no part of the draft.
        free: free memory. ``None``: not known.
    """

    name: str
    target: int | None
    draft: int | None
    free: int | None

    @property
    def needed(self) -> int:
        """The memory of both models."""
        return (self.target or 0) + (self.draft or 0)


@dataclass(frozen=True)
class StepFigures:
    """The step costs on this machine, in milliseconds.

    Attributes:
        target_ms: time of a target step with one token.
        draft_ms: time of a draft step with one token.
        ratio: step ratio c, ``target_ms / draft_ms``.
        verify: for a number of tokens, the time of a verification divided by that of one token.
        target_slowdown: time of a target step while the draft runs, divided by its time alone.
        draft_slowdown: the same ratio for a draft step.
        hop_us: coordination time per step, in microseconds.
        n_threads: number of threads of the target.
        draft_n_threads: number of threads of the draft.
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
    """The acceptance rate of the draft in a sample of texts.

    Attributes:
        alpha: share of the positions at which the draft's first candidate was the target's token.
            The interval comes from the spread over the texts.
        by_prompt: alpha of each text.
        by_rank: share of the positions at which the first, second, .. candidate was the target's
            token, for ``max_branches`` candidates.
        n_places: number of positions at which the draft was asked.
    """

    alpha: Interval
    by_prompt: tuple[float, ...]
    by_rank: tuple[float, ...]
    n_places: int


@dataclass(frozen=True)
class ModeFigures:
    """One mode, with its best settings.

    Attributes:
        mode: name of the mode.
        settings: the settings as text.
        gamma: the largest number of tokens to draft ahead. ``None``: the mode does not draft.
        epsilon: the smallest confidence at which the draft continues. ``None``: the mode ignores
            the confidence.
        max_branches: the largest number of branches.
        expected: simulated speed-up over ``autoregressive``. The interval comes from resampling the
            texts.
        measured: measured speed-up over ``autoregressive``. ``None``: it was not measured.
        tokens_per_step: mean accepted length M: tokens of the text per target step, measured if the
            speed-up is measured.
        mode_reason: the reason for the decision of ``auto`` in the last measured text.
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
    """The changes that would make `auto` gain 5 %, each without the others.

    Attributes:
        alpha: the acceptance rate that is needed at this draft's speed. ``None``: no acceptance
            rate is enough.
        ratio: the step ratio c that is needed at this draft's acceptance rate. ``None``: no ratio
            is enough.
        cheap_verify: whether the draft would help if verifying several tokens cost as much as
            decoding one token.
        nothing: by the step costs and the acceptance rate, `auto` gains 5 % without a change. Then
            ``alpha`` and ``ratio`` are those of the pair.
    """

    alpha: float | None
    ratio: float | None
    cheap_verify: bool
    nothing: bool = False


@dataclass(frozen=True)
class Measurement:
    """The measurements with both models loaded.

    Attributes:
        steps: step costs.
        acceptance: acceptance rate.
        modes: expected and measured speed-ups, ``autoregressive`` first.
        needs: the changes that would give a gain. ``None``: the pair gains speed already.
        tokens_per_second: speed of ``autoregressive``.
        n_prompts: number of measured texts.
        n_tokens: the largest number of tokens of each text.
        temperature: temperature of the texts.
        same_tokens: number of texts with the same tokens in every mode.
        seconds: time of all measurements, without loading.
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
class PlacementFigures:
    """A place for both models, with the mode `auto`. Without a measurement, ``reason`` says why.

    Attributes:
        name: name of the placement, as in ``specbranch bench``.
        words: its options on the command line.
        target_ms: time of a target step with one token, in milliseconds. ``None``, as in the other
            figures: it was not measured.
        draft_ms: time of a draft step with one token, in milliseconds.
        target_slowdown: time of a target step while the draft runs, divided by its time alone.
        expected: simulated speed-up of `auto` over ``autoregressive`` in this placement. The
            interval comes from resampling the texts.
        tokens_per_second: simulated speed of `auto`.
        reason: why the placement was not measured.
    """

    name: str
    words: str
    target_ms: float | None = None
    draft_ms: float | None = None
    target_slowdown: float | None = None
    expected: Interval | None = None
    tokens_per_second: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Advice:
    """The recommended settings.

    Attributes:
        mode: the mode of the `Engine`.
        options: other arguments of `Engine`, without a policy.
        python: a line of Python that creates the engine.
        command: a command line for a shell.
    """

    mode: str
    options: dict[str, Any]
    python: str
    command: str


@dataclass
class Report:
    """The result of an examination. The pair can be used if ``reasons`` is empty.

    Attributes:
        fits: whether the pair can be used on this machine.
        reasons: the obstacles, one sentence each.
        notes: further hints, one sentence each.
        target: the target's file. ``None``: the file could not be read.
        draft: the draft's file. ``None``: there is no draft, or the file could not be read.
        adapters: the LoRA adapters of the target.
        tool_format: the format of tool calls that the chat template writes. ``None``: it is not
            known, or there is no chat template.
        reasoning: the begin of a thought. ``None``: the chat template mentions none.
        n_common: number of equal tokens in both vocabularies.
        memory_needed: bytes of both models on all devices.
        memory_available: bytes of main memory that this process can get.
        devices: memory of each device.
        placement: where both models run, in one line.
        n_gpu_layers: number of the target's layers on GPUs; -1: all layers.
        draft_n_gpu_layers: number of the draft's layers on GPUs; -1: all layers.
        cpu: ``"runs"``, ``"dies"`` or ``"unknown"``: whether this CPU runs this build of llama.cpp.
        gpus: descriptions of the GPUs.
        llama_cpp: versions of llama.cpp.
        verdict: whether the draft helps.
        reason: one or two sentences with the figures behind the verdict.
        measurement: the measurements. ``None``: nothing was measured.
        advice: the recommended settings. ``None``: the models cannot be used.
        placements: the placements that were compared.
    """

    fits: bool = True
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    target: ModelReport | None = None
    draft: ModelReport | None = None
    adapters: list[AdapterReport] = field(default_factory=list)
    tool_format: str | None = None
    reasoning: str | None = None
    n_common: int | None = None
    memory_needed: int | None = None
    memory_available: int | None = None
    devices: list[DeviceMemory] = field(default_factory=list)
    placement: str = ""
    n_gpu_layers: int = 0
    draft_n_gpu_layers: int = 0
    cpu: str = "unknown"
    gpus: list[str] = field(default_factory=list)
    llama_cpp: dict[str, str] = field(default_factory=dict)
    verdict: Verdict = Verdict.NOT_MEASURED
    reason: str = ""
    measurement: Measurement | None = None
    advice: Advice | None = None
    placements: list[PlacementFigures] = field(default_factory=list)

    def object_to(self, reason: str) -> None:
        """Adds an obstacle: a reason why the pair cannot be used."""
        self.fits = False
        self.reasons.append(reason)
