"""The core's objects for a simulated generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from specbranch_cpp._support.simulated_machines import Machine
    from specbranch_cpp.simulation import Pair, Setting

_PROMPT = 16  # tokens; the length only changes the time before the text
_N_SEQ = 32
_N_VOCAB = 1000


def pair(options: Pair, machine: Machine, seed: int) -> _core.SyntheticPair:
    """The synthetic pair of these properties, on this machine.

    Raises:
        InvalidArgument: a value is out of its range.
    """
    made = _core.SyntheticPair()
    made.seed = checked.integer("seed", seed, 0, 2**63 - 1)
    made.n_seq = _N_SEQ
    n_branches = checked.integer("verified_branches", options.verified_branches, 0, 8)
    made.n_branches = n_branches if checked.flag("branches", machine.branches) else 0
    if not checked.is_sequence(options.alpha):
        made.alpha = checked.real("alpha", options.alpha)
    else:
        made.segments = [
            (checked.integer(f"{name}[0]", n, 1), checked.real(f"{name}[1]", alpha))
            for name, n, alpha in _pairs("alpha", options.alpha)
        ]
    made.rank_hits = checked.reals("rank_hits", options.rank_hits)
    made.concentration = checked.real("concentration", options.concentration)
    made.distortion = checked.real("distortion", options.distortion)
    made.copy_rate = checked.real("copy_rate", options.copy_rate)
    made.copy_length = checked.integer("copy_length", options.copy_length, 1, 10**6)
    made.text = _tokens("text", options.text)
    tokens = [*made.text, *_tokens("prompt", options.prompt)]
    made.n_vocab = max([_N_VOCAB, *(token + 1 for token in tokens)])
    try:
        made.replay = [(list(confidences), hit) for confidences, hit in options.proposals]
    except (TypeError, ValueError):  # only now, because there are many
        made.replay = [
            (checked.reals(f"{name}[0]", confidences), checked.integer(f"{name}[1]", hit, -1))
            for name, confidences, hit in _pairs("proposals", options.proposals)
        ]
    return made


def request(setting: Setting, prompt: Sequence[int], n_tokens: int) -> _core.Request:
    """The request of a simulated generation. Raises as `pair`."""
    made = _core.Request()
    made.mode = checked.text("mode", setting.mode)
    made.prompt = _tokens("prompt", prompt) or [0] * _PROMPT
    made.max_tokens = n_tokens
    made.max_draft = checked.integer("gamma", setting.gamma, 1, _core.MAX_DRAFT)
    made.max_branches = checked.integer("max_branches", setting.max_branches, 1, _core.MAX_BRANCHES)
    if setting.epsilon is None:
        made.use_fixed(setting.gamma)
    else:
        made.use_confidence(checked.real("epsilon", setting.epsilon))
    return made


def curve(
    name: str,
    step: float | tuple[float, ...],
    shape: str | tuple[float, ...],
    known: Mapping[str, tuple[float, ...]],
) -> list[float]:
    """Microseconds of batches of 1, 2, .. tokens. Raises as `pair`."""
    if checked.is_sequence(step):
        return _not_empty(name, checked.reals(name, step))
    us = checked.real(name, step)
    if isinstance(shape, str):
        if shape not in known:
            raise InvalidArgument(f"the curve is {shape!r}; it must be one of {', '.join(known)}")
        shape = known[shape]
    curve_name = name.replace("_us", "_curve")
    return [us * factor for factor in _not_empty(curve_name, checked.reals(curve_name, shape))]


def _not_empty(name: str, values: list[float]) -> list[float]:
    if not values:
        raise InvalidArgument(f"{name} is empty; it must have the time of at least one length")
    return values


def _pairs(name: str, values: Any) -> Iterator[tuple[str, Any, Any]]:
    """The two values of each pair, and its name in messages."""
    for i, each in checked.items(name, values):
        if not isinstance(each, (tuple, list)) or len(each) != 2:
            raise InvalidArgument(f"{name}[{i}] is {each!r:.60}; it must be a pair of values")
        yield f"{name}[{i}]", each[0], each[1]


def _tokens(name: str, tokens: Sequence[int]) -> list[int]:
    return checked.integers(name, tokens, 0, 10**7)
