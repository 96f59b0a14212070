"""The keywords of llama-cpp-python: which the engine gets, which are refused, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine.keywords import Named
from specbranch_cpp._engine.request import TextRequest
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.logit_bias import biases_of
from specbranch_cpp.openai_api.prediction import predicted_text
from specbranch_cpp.openai_api.vocabulary import end_tokens
from specbranch_cpp.options import Sampling, Speculation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp import policies
    from specbranch_cpp._engine.adapters import LoraChoice
    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp._grammar.books import Grammar
    from specbranch_cpp.openai_api.logit_bias import LogitBias
    from specbranch_cpp.openai_api.prediction import PredictionContent
    from specbranch_cpp.processors import Criteria, LogitsProcessors

__all__ = [
    "ChatKeywords",
    "CompletionKeywords",
    "Keywords",
    "check_supported",
    "include_usage",
    "max_tokens_of",
    "text_request",
]


@dataclass(frozen=True, kw_only=True)
class Keywords:
    """The keywords of both calls. `Engine.create_completion` describes the fields."""

    max_tokens: int | None
    temperature: float
    top_p: float
    min_p: float
    typical_p: float
    top_k: int
    repeat_penalty: float
    frequency_penalty: float
    presence_penalty: float
    tfs_z: float
    mirostat_mode: int
    mirostat_tau: float
    mirostat_eta: float
    stop: str | Sequence[str] | None
    stream: bool
    seed: int | None
    model: str | None
    logits_processor: LogitsProcessors
    stopping_criteria: Criteria
    grammar: object
    logit_bias: LogitBias | None
    dynatemp_range: float
    dynatemp_exponent: float
    top_n_sigma: float
    min_keep: int
    xtc_probability: float
    xtc_threshold: float
    repeat_last_n: int
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: Sequence[str]
    adaptive_target: float
    adaptive_decay: float
    samplers: Sequence[str] | None
    mode: str | None
    policy: policies.BuiltIn | policies.Policy | None
    max_branches: int | None
    max_draft: int | None
    lookup: bool | None
    lookup_answers: bool | None
    trace: bool
    stream_options: Mapping[str, Any] | None
    response_format: Mapping[str, Any] | None
    ignore_eos: bool
    stop_token_ids: Sequence[int] | None
    min_tokens: int
    lora: LoraChoice | None
    prediction: PredictionContent | None
    return_token_ids: bool

    def __post_init__(self) -> None:
        # Some options are read twice.
        for field in fields(self):
            value = getattr(self, field.name)
            lasting = checked.lasting(value)
            if lasting is not value:
                object.__setattr__(self, field.name, lasting)


@dataclass(frozen=True, kw_only=True)
class CompletionKeywords(Keywords):
    """The arguments of `Engine.create_completion`."""

    prompt: str | Sequence[int]
    suffix: str | None
    logprobs: int | None
    echo: bool


@dataclass(frozen=True, kw_only=True)
class PromptKeywords:
    """The arguments of `Engine.create_chat_completion` that rule the prompt."""

    messages: Sequence[Mapping[str, Any]]
    functions: Sequence[Mapping[str, Any]] | None = None
    function_call: str | Mapping[str, Any] | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    continue_final_message: bool = False
    add_generation_prompt: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ChatKeywords(PromptKeywords, Keywords):
    """The arguments of `Engine.create_chat_completion`."""

    logprobs: bool | None
    top_logprobs: int | None
    content_logprobs: bool
    max_completion_tokens: int | None


def text_request(
    engine: TextEngine,
    given: Keywords,
    prompt: str | Sequence[int],
    *,
    max_tokens: int | None,
    logprobs: int | None,
    grammar: Grammar | None,
    stop: str | Sequence[str] | None,
    prompt_logprobs: int | None = None,
) -> TextRequest:
    """The request for the engine, with these arguments and with the other keywords of the call.

    Raises:
        InvalidArgument: a keyword has the wrong type. The engine checks the values.
    """
    return TextRequest(
        prompt=prompt,
        sampling=Named(
            Sampling(
                temperature=given.temperature,
                dynatemp_range=given.dynatemp_range,
                dynatemp_exponent=given.dynatemp_exponent,
                top_k=given.top_k,
                top_p=given.top_p,
                min_p=given.min_p,
                typical_p=given.typical_p,
                top_n_sigma=given.top_n_sigma,
                min_keep=given.min_keep,
                xtc_probability=given.xtc_probability,
                xtc_threshold=given.xtc_threshold,
                repeat_last_n=given.repeat_last_n,
                repeat_penalty=given.repeat_penalty,
                presence_penalty=given.presence_penalty,
                frequency_penalty=given.frequency_penalty,
                dry_multiplier=given.dry_multiplier,
                dry_base=given.dry_base,
                dry_allowed_length=given.dry_allowed_length,
                dry_penalty_last_n=given.dry_penalty_last_n,
                dry_sequence_breakers=given.dry_sequence_breakers,
                mirostat_mode=given.mirostat_mode,
                mirostat_tau=given.mirostat_tau,
                mirostat_eta=given.mirostat_eta,
                adaptive_target=given.adaptive_target,
                adaptive_decay=given.adaptive_decay,
                samplers=given.samplers,
                logit_bias=_biases(engine, given),
                grammar=grammar,
                seed=_seed(given.seed),
            )
        ),
        speculation=Named(
            Speculation(
                mode=given.mode,
                policy=given.policy,
                max_branches=given.max_branches,
                max_draft=given.max_draft,
                lookup=given.lookup,
                lookup_answers=given.lookup_answers,
            )
        ),
        max_tokens=max_tokens,
        stop=stop,
        stop_token_ids=given.stop_token_ids,
        min_tokens=given.min_tokens,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        lora=given.lora,
        prediction=predicted_text(given.prediction),
        trace=given.trace,
        n_feature_layers=0,
        logits_processor=given.logits_processor,
        stopping_criteria=given.stopping_criteria,
    )


def include_usage(given: Keywords) -> bool:
    """Whether ``stream_options`` request a last chunk with the usage."""
    options: object = given.stream_options
    if options is None:
        return False
    if not isinstance(options, Mapping):
        raise InvalidArgument(f"stream_options is {options!r}; it must be a mapping or None")
    if not given.stream:
        raise InvalidArgument("stream_options are given without stream=True; they need stream=True")
    for name in options:
        if name not in {"include_usage", "include_obfuscation"}:
            raise InvalidArgument(f"stream_options has {name!r}; it may only have include_usage")
    return checked.flag("stream_options['include_usage']", options.get("include_usage") or False)


def check_supported(given: Keywords) -> None:
    """Refuses keywords that the engine does not support.

    Raises:
        InvalidArgument: a keyword is not supported. The message names the keyword and the reason.
    """
    if checked.real("tfs_z", given.tfs_z) < 1.0:
        raise InvalidArgument(
            f"tfs_z is {given.tfs_z}; it must be 1.0 (off), because llama.cpp has no tail-free "
            "sampling. typical_p, top_p and min_p are similar"
        )


def max_tokens_of(name: str, value: int | None) -> int | None:
    """``None`` or a number below 1 means: until the context is full."""
    return None if value is None or checked.integer(name, value) <= 0 else value


def _seed(value: int | None) -> int | None:
    """-1 also draws a seed, as in llama.cpp."""
    return None if value is None or value == -1 else value


def _biases(engine: TextEngine, given: Keywords) -> Mapping[int, float] | None:
    """The bias of single tokens; with ``ignore_eos``, the tokens that end a text are forbidden."""
    biases = biases_of(engine, given.logit_bias)
    if checked.flag("ignore_eos", given.ignore_eos):
        stops = checked.tokens(
            "stop_token_ids",
            () if given.stop_token_ids is None else given.stop_token_ids,
            engine.vocab_size,
            "a sequence of token ids",
        )
        ends = end_tokens(engine).difference(stops)
        biases = {**(biases or {}), **dict.fromkeys(sorted(ends), float("-inf"))}
    return biases
