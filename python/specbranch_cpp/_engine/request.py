"""From the arguments of `Engine.generate` to a request of the core."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp import _core, policies
from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp._pair import hrad_weights
from specbranch_cpp._support import checked
from specbranch_cpp.errors import ContextOverflow, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp._engine.keywords import Named
    from specbranch_cpp.options import Sampling, Speculation

_MAX_SEED = 2**64 - 1
STEERED_MODE = "specbranch"
"""The mode of a policy that was given without one: `auto` takes none."""
_AUTO_DRAFT = 16
_ROUND_DRAFT = 8


@dataclass(frozen=True)
class Defaults:
    """What an engine was told and a call may leave out.

    Attributes:
        mode: how to decode.
        policy: of the modes that take one; None: the built-in rule.
        k_max: branches at most, for which the draft's cache has room.
        max_draft: tokens drafted ahead at most, likewise; None: as the mode has it.
    """

    mode: str
    policy: policies.BuiltIn | policies.Policy | None = None
    k_max: int = 4
    max_draft: int | None = None

    @classmethod
    def of(cls, said: Named[Speculation]) -> Defaults:
        """Checks what an engine was told.

        Raises:
            InvalidArgument: a field is of the wrong kind or out of its range.
        """
        speculation, prefix = said.value, said.prefix
        mode, k_max, max_draft = speculation.mode, cls.k_max, None
        if mode is None:
            mode = "auto" if speculation.policy is None else STEERED_MODE
        if speculation.k_max is not None:
            k_max = checked.integer(f"{prefix}k_max", speculation.k_max, 1, _core.MAX_BRANCHES)
        if speculation.max_draft is not None:
            max_draft = checked.integer(
                f"{prefix}max_draft", speculation.max_draft, 1, _core.MAX_DRAFT
            )
        _decoding(mode, speculation.policy, prefix=prefix)
        return cls(mode, speculation.policy, k_max, max_draft)

    @property
    def draft_room(self) -> int:
        """What a call may ask of ``max_draft`` at most."""
        return _AUTO_DRAFT if self.max_draft is None else self.max_draft

    def draft_of(self, mode: str) -> int:
        """``max_draft`` of a call that does not say: `auto` itself finds how far drafting pays."""
        return self.draft_room if mode == "auto" else min(_ROUND_DRAFT, self.draft_room)


@dataclass(frozen=True)
class TextRequest:
    """The arguments of `Engine.generate`, each said in one way; not checked yet."""

    prompt: str | Sequence[int]
    sampling: Named[Sampling]
    speculation: Named[Speculation]
    max_tokens: int | None
    stop: str | Sequence[str] | None
    logprobs: int | None
    trace: bool
    n_feature_layers: int


def make_seeds(seed: int | None) -> random.Random:
    """The source of the seeds of calls without one."""
    return random.Random(None if seed is None else checked.integer("seed", seed, 0, _MAX_SEED))


def make_request(
    core: _core.Engine,
    defaults: Defaults,
    asked: TextRequest,
    seeds: random.Random,
    pair: hrad_weights.PairFiles | None = None,
) -> _core.Request:
    """Checks the arguments of a call and fills in what it does not say.

    Raises:
        InvalidArgument: an argument is of the wrong kind or out of its range.
        ContextOverflow: the prompt cannot fit.
    """
    request = _speculation(core, defaults, asked.speculation, pair)
    request.prompt = _prompt(core, asked.prompt)
    if asked.max_tokens is not None:
        request.max_tokens = checked.integer("max_tokens", asked.max_tokens, 0)
    _add_sampling(request, asked.sampling, core.n_vocab)
    if asked.sampling.value.seed is None:
        request.seed = seeds.getrandbits(32)
    request.stop = checked.stop_strings(asked.stop)
    if asked.logprobs is not None:
        request.logprobs = checked.integer("logprobs", asked.logprobs, 0, core.n_vocab)
    request.trace = checked.flag("trace", asked.trace)
    if n_feature_layers := checked.integer("n_feature_layers", asked.n_feature_layers, 0):
        request.n_feature_layers = n_feature_layers
    return request


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
            policy = None  # the engine's, for its other modes
    request = _decoding(mode, policy, core, prefix)
    if isinstance(policy, policies.HRAD) and request.mode != "autoregressive":
        hrad_weights.check_pair(policy._file, core, pair)
    k_max = defaults.k_max if speculation.k_max is None else speculation.k_max
    request.k_max = checked.integer(f"{prefix}k_max", k_max, 1, defaults.k_max)
    max_draft = speculation.max_draft
    if max_draft is None:
        max_draft = defaults.draft_of(request.mode)
    room = defaults.draft_room
    request.max_draft = checked.integer(f"{prefix}max_draft", max_draft, 1, room)
    return request


def _prompt(core: _core.Engine, prompt: str | Sequence[int]) -> list[int]:
    """Its tokens."""
    if not isinstance(prompt, str):
        return checked.tokens("prompt", prompt, core.n_vocab)
    text = checked.encoded("prompt", prompt)
    if not text:
        raise InvalidArgument(
            "prompt is empty; it must have a character or a token ([engine.bos_token] is a "
            "prompt that says nothing)"
        )
    check_length(core, len(text))
    return core.tokenize(text, add_special=True, parse_special=True)


def _add_sampling(request: _core.Request, said: Named[Sampling], n_vocab: int) -> None:
    """Copies what was said of the sampling, the kinds of which are checked."""
    sampling, prefix = said.value, said.prefix
    request.temperature = checked.real(f"{prefix}temperature", sampling.temperature)
    request.top_k = checked.integer(f"{prefix}top_k", sampling.top_k, -1)
    request.top_p = checked.real(f"{prefix}top_p", sampling.top_p)
    request.min_p = checked.real(f"{prefix}min_p", sampling.min_p)
    request.repeat_penalty = checked.real(f"{prefix}repeat_penalty", sampling.repeat_penalty)
    request.presence_penalty = checked.real(f"{prefix}presence_penalty", sampling.presence_penalty)
    request.frequency_penalty = checked.real(
        f"{prefix}frequency_penalty", sampling.frequency_penalty
    )
    if sampling.logit_bias is not None:
        request.logit_bias = checked.bias(f"{prefix}logit_bias", sampling.logit_bias, n_vocab)
    if sampling.grammar is not None:
        request.grammar = checked.grammar(f"{prefix}grammar", sampling.grammar)
        check_cost(request.grammar)
    if sampling.seed is not None:
        request.seed = checked.integer(f"{prefix}seed", sampling.seed, 0, _MAX_SEED)


def check_length(core: _core.Engine, n_bytes: int) -> None:
    """Refuses what cannot fit, whatever its tokens are: to find them may take long.

    Raises:
        ContextOverflow: every token of the text being the longest one, there are too many.
    """
    least = -(-n_bytes // core.longest_token)
    if least >= core.n_ctx:
        raise ContextOverflow(
            f"the prompt has {n_bytes} bytes, which are {least} tokens at least; the context of "
            f"{core.n_ctx} leaves no room for one more"
        )


def written_in_python(
    policy: policies.BuiltIn | policies.Policy | None,
) -> policies.Policy | None:
    """The policy if it is an object of the caller's."""
    return None if policy is None or isinstance(policy, policies.BuiltIn) else policy


def _decoding(
    mode: str,
    policy: policies.BuiltIn | policies.Policy | None,
    core: _core.Engine | None = None,
    prefix: str = "",
) -> _core.Request:
    """A request with this mode and policy; without `core`, features are not checked."""
    request = _core.Request()
    request.mode = checked.text(f"{prefix}mode", mode)
    if policy is not None and request.mode == "auto":
        raise InvalidArgument(
            f"{prefix}policy is {policy!r}; mode 'auto' decides by itself how far to draft: give "
            "max_draft and k_max to bound it, or one of the modes speculative, pearl, specbranch"
        )
    if isinstance(policy, policies.Fixed):
        request.use_fixed(policy.gamma)
    elif isinstance(policy, policies.Confidence):
        request.use_confidence(policy.epsilon)
    elif isinstance(policy, policies.AdaEDL):
        request.use_ada_edl(policy.threshold, policy.acceptance)
    elif isinstance(policy, policies.HRAD):
        if request.mode != "autoregressive":  # which has no use for the target's features
            request.use_hrad(policy._file.weights, policy.epsilon, policy.sure)
    elif policy is not None:
        n_feature_layers = _check_user_policy(policy, core, prefix)
        if request.mode != "autoregressive":
            request.use_hook(n_feature_layers)
    return request


def _check_user_policy(policy: object, core: _core.Engine | None, prefix: str) -> int:
    """How many layers' states a policy wants; refuses what is no policy."""
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
