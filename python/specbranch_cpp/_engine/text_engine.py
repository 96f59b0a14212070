"""The interface that the OpenAI calls need from an engine."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, TypedDict

from specbranch_cpp._engine.model_facts import ModelFacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from specbranch_cpp import policies
    from specbranch_cpp._engine.adapters import LoraChoice
    from specbranch_cpp._engine.request import CheckedRequest, TextRequest
    from specbranch_cpp._engine.text_sources import Prediction
    from specbranch_cpp.generation import Generation, Shared
    from specbranch_cpp.grammars import JsonSchema, Lark, Regex
    from specbranch_cpp.options import Sampling, Speculation
    from specbranch_cpp.processors import Criteria, LogitsProcessors

__all__ = ["GenerateKeywords", "TextEngine"]


class GenerateKeywords(TypedDict, total=False):
    """The keywords of `Engine.generate`, for calls that pass them on."""

    max_tokens: int | None
    sampling: Sampling | None
    temperature: float | None
    dynatemp_range: float | None
    dynatemp_exponent: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    top_n_sigma: float | None
    min_keep: int | None
    xtc_probability: float | None
    xtc_threshold: float | None
    repeat_last_n: int | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_penalty_last_n: int | None
    dry_sequence_breakers: Sequence[str] | None
    mirostat_mode: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    adaptive_target: float | None
    adaptive_decay: float | None
    samplers: Sequence[str] | None
    logit_bias: Mapping[int, float] | None
    grammar: str | Lark | Regex | JsonSchema | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    min_tokens: int
    seed: int | None
    logprobs: int | None
    prompt_logprobs: int | None
    lora: LoraChoice | None
    speculation: Speculation | None
    mode: str | None
    policy: policies.BuiltIn | policies.Policy | None
    max_branches: int | None
    max_draft: int | None
    lookup: bool | None
    lookup_answers: bool | None
    prediction: Prediction | None
    trace: bool
    n_feature_layers: int
    logits_processor: LogitsProcessors
    stopping_criteria: Criteria


class TextEngine(ModelFacts):
    """The part of `Engine` that `openai_api` uses: a vocabulary and generations."""

    _shared: Shared

    @abstractmethod
    def generate(
        self, prompt: str | Sequence[int], **options: Unpack[GenerateKeywords]
    ) -> Generation:
        """See `Engine.generate`."""

    @abstractmethod
    def _submit(self, asked: TextRequest) -> Generation:
        """Checks a request, queues it, and returns at once."""

    @abstractmethod
    def _checked(self, asked: TextRequest) -> CheckedRequest:
        """Checks a request, without queueing it, and draws its seed if it has none."""

    @abstractmethod
    def _queue(self, checked_request: CheckedRequest) -> Generation:
        """Queues a request that was checked, and returns at once."""
