"""Turns the arguments of `Engine.generate` into a request of the core."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp import _core, policies
from specbranch_cpp._engine.adapters import chosen_adapters
from specbranch_cpp._engine.rules import set_grammar
from specbranch_cpp._engine.text_sources import set_prediction, set_switches
from specbranch_cpp._pair import hrad_weights
from specbranch_cpp._support import checked
from specbranch_cpp.errors import ContextOverflow, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp._engine.adapters import LoraChoice
    from specbranch_cpp._engine.keywords import Named
    from specbranch_cpp._engine.processing import Processing
    from specbranch_cpp._engine.text_sources import Prediction
    from specbranch_cpp.options import Sampling, Speculation
    from specbranch_cpp.processors import Criteria, LogitsProcessors
    from specbranch_cpp.results import LoraAdapter

MAX_SEED = 2**64 - 1
_REALS = (
    "temperature", "dynatemp_range", "dynatemp_exponent", "top_p", "min_p", "typical_p",
    "top_n_sigma", "xtc_probability", "xtc_threshold", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "dry_multiplier", "dry_base", "mirostat_tau", "mirostat_eta",
    "adaptive_target", "adaptive_decay",
)  # fmt: skip
_INTEGERS = {
    "top_k": -1, "min_keep": 0, "repeat_last_n": -1, "dry_allowed_length": 0,
    "dry_penalty_last_n": -1,
}  # fmt: skip
"""Integers of `Sampling` and their least values. The core checks the other ranges."""
STEERED_MODE = "specbranch"
"""The mode of a call with a policy and no mode, because `auto` takes no policy."""
_AUTO_DRAFT = 16
_ROUND_DRAFT = 8


@dataclass(frozen=True)
class Defaults:
    """Defaults of an engine for its calls.

    Attributes:
        mode: the mode of calls without ``mode``.
        policy: the policy for modes that take a policy. ``None`` (default): the built-in rule.
        max_branches: the largest number of branches. The draft's KV cache has room for them.
        max_draft: the largest number of tokens to draft ahead. The KV cache has room for them.
            ``None`` (default): the mode decides.
        adapters: the LoRA adapters that calls may choose from.
        lookup: whether texts propose tokens.
        lookup_answers: whether earlier answers do so.
    """

    mode: str
    policy: policies.BuiltIn | policies.Policy | None = None
    max_branches: int = 4
    max_draft: int | None = None
    adapters: tuple[LoraAdapter, ...] = ()
    lookup: bool = True
    lookup_answers: bool = True

    @classmethod
    def of(cls, said: Named[Speculation]) -> Defaults:
        """Checks the speculation options of an engine.

        Raises:
            InvalidArgument: a field has the wrong type or is out of its range.
        """
        speculation, prefix = said.value, said.prefix
        mode, max_branches, max_draft = speculation.mode, cls.max_branches, None
        if mode is None:
            mode = "auto" if speculation.policy is None else STEERED_MODE
        if speculation.max_branches is not None:
            max_branches = checked.integer(
                f"{prefix}max_branches", speculation.max_branches, 1, _core.MAX_BRANCHES
            )
        if speculation.max_draft is not None:
            max_draft = checked.integer(
                f"{prefix}max_draft", speculation.max_draft, 1, _core.MAX_DRAFT
            )
        _decoding(mode, speculation.policy, prefix=prefix)
        return cls(mode, speculation.policy, max_branches, max_draft)

    @property
    def draft_room(self) -> int:
        """The largest ``max_draft`` of a call."""
        return _AUTO_DRAFT if self.max_draft is None else self.max_draft

    def draft_of(self, mode: str) -> int:
        """The ``max_draft`` of a call without this argument.

        `auto` gets the whole room, because it finds by itself how far drafting pays.
        """
        return self.draft_room if mode == "auto" else min(_ROUND_DRAFT, self.draft_room)


@dataclass(frozen=True)
class TextRequest:
    """The arguments of `Engine.generate`, before they are checked."""

    prompt: str | Sequence[int]
    sampling: Named[Sampling]
    speculation: Named[Speculation]
    max_tokens: int | None = None
    stop: str | Sequence[str] | None = None
    logprobs: int | None = None
    lora: LoraChoice | None = None
    trace: bool = False
    n_feature_layers: int = 0
    logits_processor: LogitsProcessors = None
    stopping_criteria: Criteria = None
    prediction: Prediction | None = None
    min_tokens: int = 0
    stop_token_ids: Sequence[int] | None = None
    prompt_logprobs: int | None = None
    prompt_name: str = "prompt"
    """The name of the prompt in messages."""


@dataclass(frozen=True)
class CheckedRequest:
    """A request that can be queued, once.

    Attributes:
        asked: the arguments.
        request: the same for the core, which checks the ranges of the options when it queues them.
        processing: the functions of the caller. ``None``: there are none.
    """

    asked: TextRequest
    request: _core.Request
    processing: Processing | None


def make_seeds(seed: int | None) -> random.Random:
    """The generator of seeds for calls without a seed."""
    return random.Random(None if seed is None else checked.integer("seed", seed, 0, MAX_SEED))


def make_request(
    core: _core.Engine,
    defaults: Defaults,
    asked: TextRequest,
    seeds: random.Random,
    pair: hrad_weights.PairFiles | None = None,
) -> _core.Request:
    """Checks the arguments of a call, and fills in the defaults.

    Raises:
        InvalidArgument: an argument has the wrong type or is out of its range.
        ContextOverflow: the prompt cannot fit.
    """
    request = _speculation(core, defaults, asked.speculation, pair)
    _set_prompt(request, core, asked.prompt, asked.prompt_name)
    if asked.max_tokens is not None:
        request.max_tokens = checked.integer("max_tokens", asked.max_tokens, 0)
    _add_sampling(request, asked.sampling, core.n_vocab)
    if asked.sampling.value.seed is None:
        request.seed = seeds.getrandbits(32)
    if min_tokens := checked.integer("min_tokens", asked.min_tokens, 0):
        request.min_tokens = min_tokens
    request.stop = checked.stop_strings(asked.stop)
    if asked.stop_token_ids is not None:
        ids = checked.tokens(
            "stop_token_ids", asked.stop_token_ids, core.n_vocab, "a sequence of token ids"
        )
        request.stop_tokens = sorted(set(ids))
    if asked.logprobs is not None:
        request.logprobs = checked.integer("logprobs", asked.logprobs, 0, core.n_vocab)
    if asked.prompt_logprobs is not None:
        request.prompt_logprobs = checked.integer(
            "prompt_logprobs", asked.prompt_logprobs, 0, core.n_vocab
        )
    if asked.lora is not None:
        request.adapters = chosen_adapters(asked.lora, defaults.adapters)
    if asked.prediction is not None:
        set_prediction(request, core, asked.prediction)
    request.trace = checked.flag("trace", asked.trace)
    if n_feature_layers := checked.integer("n_feature_layers", asked.n_feature_layers, 0):
        if not request.trace:
            raise InvalidArgument(
                f"n_feature_layers is {n_feature_layers}, but trace is False; it must be True, "
                "because the trace contains the features"
            )
        request.n_feature_layers = n_feature_layers
    return request


def add_processing(request: _core.Request, asked: TextRequest, n_vocab: int) -> Processing | None:
    """Gives the functions of the caller to a request. ``None``: there are none.

    Raises:
        InvalidArgument: an argument is not a function, or a list of functions.
    """
    if asked.logits_processor is None and asked.stopping_criteria is None:
        return None  # NumPy is not imported in vain
    from specbranch_cpp._engine.processing import processing_of

    return processing_of(request, asked.logits_processor, asked.stopping_criteria, n_vocab)


def _speculation(
    core: _core.Engine,
    defaults: Defaults,
    said: Named[Speculation],
    pair: hrad_weights.PairFiles | None,
) -> _core.Request:
    """A request with the mode, the policy and their limits."""
    speculation, prefix = said.value, said.prefix
    mode = defaults.mode if speculation.mode is None else speculation.mode
    policy = defaults.policy if speculation.policy is None else speculation.policy
    if mode == "auto" and policy is not None:
        if speculation.mode is None:
            mode = STEERED_MODE
        elif speculation.policy is None:
            policy = None  # the policy of the engine is for other modes
    request = _decoding(mode, policy, core, prefix)
    if isinstance(policy, policies.HRAD) and request.mode != "autoregressive":
        hrad_weights.check_pair(policy._file, core, pair)
    max_branches = (
        defaults.max_branches if speculation.max_branches is None else speculation.max_branches
    )
    request.max_branches = checked.integer(
        f"{prefix}max_branches", max_branches, 1, defaults.max_branches
    )
    max_draft = speculation.max_draft
    if max_draft is None:
        max_draft = defaults.draft_of(request.mode)
    room = defaults.draft_room
    request.max_draft = checked.integer(f"{prefix}max_draft", max_draft, 1, room)
    set_switches(request, defaults, said)
    return request


def _set_prompt(
    request: _core.Request, core: _core.Engine, prompt: str | Sequence[int], name: str
) -> None:
    """Checks the prompt and gives it to the request."""
    text = checked.encoded(name, prompt) if isinstance(prompt, str) else b""
    tokens = [] if isinstance(prompt, str) else checked.tokens(name, prompt, core.n_vocab)
    if not text and not tokens:
        raise InvalidArgument(
            f"{name} is empty; it must have at least one character or token ([engine.bos_token] is "
            "the shortest prompt)"
        )
    said = "the prompt" if name == "prompt" else name
    if text:
        check_length(core, len(text), said)
        core.set_prompt(request, text)
    else:
        request.prompt = tokens
    if request.n_prompt >= core.n_ctx:
        raise ContextOverflow(
            f"{said} has {request.n_prompt} tokens; the context of {core.n_ctx} leaves no room for "
            "one more"
        )


def _add_sampling(request: _core.Request, said: Named[Sampling], n_vocab: int) -> None:
    """Checks the types of the sampling options and copies them."""
    sampling, prefix = said.value, said.prefix
    for name in _REALS:
        setattr(request, name, checked.real(prefix + name, getattr(sampling, name)))
    for name, low in _INTEGERS.items():
        setattr(request, name, checked.integer(prefix + name, getattr(sampling, name), low))
    request.mirostat = checked.integer(f"{prefix}mirostat_mode", sampling.mirostat_mode, 0, 2)
    request.dry_sequence_breakers = [
        checked.encoded(f"{prefix}dry_sequence_breakers[{i}]", text)
        for i, text in checked.items(
            f"{prefix}dry_sequence_breakers", sampling.dry_sequence_breakers
        )
    ]
    if sampling.samplers is not None:
        request.samplers = checked.texts(f"{prefix}samplers", sampling.samplers)
    if sampling.logit_bias is not None:
        request.logit_bias = checked.bias(f"{prefix}logit_bias", sampling.logit_bias, n_vocab)
    if sampling.grammar is not None:
        set_grammar(request, f"{prefix}grammar", sampling.grammar)
    if sampling.seed is not None:
        request.seed = checked.integer(f"{prefix}seed", sampling.seed, 0, MAX_SEED)


def check_length(core: _core.Engine, n_bytes: int, said: str = "the prompt") -> None:
    """Refuses a text that cannot fit, before tokenizing it, which can take long.

    Args:
        core: the engine with the context.
        n_bytes: the size of the text.
        said: what the text is, for the message.

    Raises:
        ContextOverflow: the text has too many tokens even if every token is the longest of the
            vocabulary.
    """
    least = -(-n_bytes // core.longest_token)
    if least >= core.n_ctx:
        raise ContextOverflow(
            f"{said} has {n_bytes} bytes, which are at least {least} tokens; with the context "
            f"of {core.n_ctx} tokens there is no room to generate"
        )


def written_in_python(
    policy: policies.BuiltIn | policies.Policy | None,
) -> policies.Policy | None:
    """The policy, if it is an object of the caller; otherwise ``None``."""
    return None if policy is None or isinstance(policy, policies.BuiltIn) else policy


def _decoding(
    mode: str,
    policy: policies.BuiltIn | policies.Policy | None,
    core: _core.Engine | None = None,
    prefix: str = "",
) -> _core.Request:
    """A request with this mode and policy. Without `core`, the features are not checked."""
    request = _core.Request() if core is None else core.new_request()
    request.mode = checked.text(f"{prefix}mode", mode)
    if policy is not None and request.mode == "auto":
        raise InvalidArgument(
            f"{prefix}policy is {policy!r}, but mode 'auto' takes no policy; give max_draft and "
            "max_branches to limit it, or use mode speculative, pearl or specbranch"
        )
    if isinstance(policy, policies.Fixed):
        request.use_fixed(policy.gamma)
    elif isinstance(policy, policies.Confidence):
        request.use_confidence(policy.epsilon)
    elif isinstance(policy, policies.AdaEDL):
        request.use_ada_edl(policy.threshold, policy.acceptance)
    elif isinstance(policy, policies.HRAD):
        if request.mode != "autoregressive":  # this mode does not use the target's features
            request.use_hrad(policy._file.weights, policy.epsilon, policy.min_probability)
    elif policy is not None:
        n_feature_layers = _check_user_policy(policy, core, prefix)
        if request.mode != "autoregressive":
            request.use_hook(n_feature_layers)
    return request


def _check_user_policy(policy: object, core: _core.Engine | None, prefix: str) -> int:
    """The number of feature layers that a policy needs.

    Raises:
        InvalidArgument: the object is not a policy, or the target has fewer feature layers.
    """
    missing = [name for name in ("plan", "observe") if not callable(getattr(policy, name, None))]
    if missing or isinstance(policy, type):
        reason = f"it has no method {' and no method '.join(missing)}" if missing else "a class"
        raise InvalidArgument(
            f"{prefix}policy is {policy!r} ({reason}); it must be one of policies.Fixed, "
            "Confidence, AdaEDL and HRAD, or an object with the methods plan and observe"
        )
    wanted = getattr(policy, "n_feature_layers", 0)
    most = 2**31 - 1 if core is None else core.n_feature_layers
    return checked.integer(f"{type(policy).__name__}.n_feature_layers", wanted, 0, most)
