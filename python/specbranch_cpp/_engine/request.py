"""From the keyword arguments of `Engine.generate` to a request of the core."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core, policies
from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp._pair import hrad_weights
from specbranch_cpp._support import checked
from specbranch_cpp.errors import ContextOverflow, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_SEED = 2**64 - 1
STEERED_MODE = "specbranch"
"""The mode of a policy that was given without one: `auto` takes none."""
_AUTO_DRAFT = 16
_ROUND_DRAFT = 8


@dataclass(frozen=True)
class Defaults:
    """What an engine was told and a call may leave out. Checked when made."""

    mode: Any
    policy: Any = None
    k_max: int = 4
    max_draft: int | None = None

    @property
    def draft_room(self) -> int:
        """What a call may ask of ``max_draft`` at most."""
        return _AUTO_DRAFT if self.max_draft is None else self.max_draft

    def draft_of(self, mode: str) -> int:
        """``max_draft`` of a call that does not say: `auto` itself finds how far drafting pays."""
        return self.draft_room if mode == "auto" else min(_ROUND_DRAFT, self.draft_room)

    def __post_init__(self) -> None:
        _decoding(self.mode, self.policy)


def make_seeds(seed: Any) -> random.Random:
    """The source of the seeds of calls without one."""
    return random.Random(None if seed is None else checked.integer("seed", seed, 0, _MAX_SEED))


def make_request(
    core: _core.Engine,
    defaults: Defaults,
    given: Mapping[str, Any],
    seeds: random.Random,
    pair: hrad_weights.PairFiles | None = None,
) -> _core.Request:
    """Checks the arguments, of which None leaves the default."""

    def chosen(name: str) -> Any:
        return getattr(defaults, name) if given[name] is None else given[name]

    n_vocab = core.n_vocab
    policy, mode = chosen("policy"), chosen("mode")
    if mode == "auto" and policy is not None:
        if given["mode"] is None:
            mode = STEERED_MODE
        elif given["policy"] is None:
            policy = None  # the engine's, for its other modes
    request = _decoding(mode, policy, core)
    if isinstance(policy, policies.HRAD) and request.mode != "autoregressive":
        hrad_weights.check_pair(policy._file, core, pair)
    request.k_max = checked.integer("k_max", chosen("k_max"), 1, defaults.k_max)
    max_draft = given["max_draft"]
    request.max_draft = checked.integer(
        "max_draft",
        defaults.draft_of(request.mode) if max_draft is None else max_draft,
        1,
        defaults.draft_room,
    )
    if isinstance(given["prompt"], str):
        text = checked.encoded("prompt", given["prompt"])
        if not text:
            raise InvalidArgument(
                "prompt is empty; it must have a character or a token ([engine.bos_token] is a "
                "prompt that says nothing)"
            )
        check_length(core, len(text))
        request.prompt = core.tokenize(text, add_special=True, parse_special=True)
    else:
        request.prompt = checked.tokens("prompt", given["prompt"], n_vocab)
    if given["max_tokens"] is not None:
        request.max_tokens = checked.integer("max_tokens", given["max_tokens"], 0)
    request.temperature = checked.real("temperature", given["temperature"])
    request.top_k = checked.integer("top_k", given["top_k"], -1)
    request.top_p = checked.real("top_p", given["top_p"])
    request.min_p = checked.real("min_p", given["min_p"])
    request.repeat_penalty = checked.real("repeat_penalty", given["repeat_penalty"])
    request.presence_penalty = checked.real("presence_penalty", given["presence_penalty"])
    request.frequency_penalty = checked.real("frequency_penalty", given["frequency_penalty"])
    request.logit_bias = checked.bias(given["logit_bias"], n_vocab)
    if given["grammar"] is not None:
        request.grammar = checked.grammar(given["grammar"])
        check_cost(request.grammar)
    request.stop = checked.stop_strings(given["stop"])
    if given["logprobs"] is not None:
        request.logprobs = checked.integer("logprobs", given["logprobs"], 0, n_vocab)
    request.trace = checked.flag("trace", given["trace"])
    if n_feature_layers := checked.integer("n_feature_layers", given["n_feature_layers"], 0):
        request.n_feature_layers = n_feature_layers
    if given["seed"] is None:
        request.seed = seeds.getrandbits(32)
    else:
        request.seed = checked.integer("seed", given["seed"], 0, _MAX_SEED)
    return request


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


def written_in_python(policy: Any) -> policies.Policy | None:
    """The policy if it is an object of the caller's."""
    return None if policy is None or isinstance(policy, policies.BuiltIn) else policy


def _decoding(mode: Any, policy: Any, core: _core.Engine | None = None) -> _core.Request:
    """A request with this mode and policy; without `core`, features are not checked."""
    request = _core.Request()
    request.mode = checked.text("mode", mode)
    if policy is not None and request.mode == "auto":
        raise InvalidArgument(
            f"policy is {policy!r}; mode 'auto' decides by itself how far to draft: give "
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
        n_feature_layers = _check_hook(policy, core)
        if request.mode != "autoregressive":
            request.use_hook(n_feature_layers)
    return request


def _check_hook(policy: Any, core: _core.Engine | None) -> int:
    """How many layers' states a policy wants; refuses what is no policy."""
    missing = [name for name in ("plan", "observe") if not callable(getattr(policy, name, None))]
    if missing or isinstance(policy, type):
        reason = f"it has no method {' and no method '.join(missing)}" if missing else "a class"
        raise InvalidArgument(
            f"policy is {policy!r} ({reason}); it must be one of policies.Fixed, Confidence, "
            "AdaEDL and HRAD, or an object with the methods plan and observe"
        )
    wanted = getattr(policy, "n_feature_layers", 0)
    most = 2**31 - 1 if core is None else core.n_feature_layers
    return checked.integer(f"{type(policy).__name__}.n_feature_layers", wanted, 0, most)
