"""Which models can draft for which, and what speed-up the sizes let expect."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from specbranch_cpp import _core, simulation
from specbranch_cpp._support.system import usable_cpus
from specbranch_cpp.errors import SpecBranchError
from specbranch_cpp.local_models.report import Assumptions, Gain, LocalPair
from specbranch_cpp.simulation import Pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp._support.gguf_header import Header
    from specbranch_cpp.local_models.reading import ReadModel

__all__ = ["find_pairs", "usual_machine"]

_N_TOKENS = 1000
_ENOUGH = 16  # tokens of a sample
_ANOTHER = (
    0.5  # share of equal tokens below which two tokenizers have nothing to do with each other
)


def usual_machine() -> str:
    """The machine of `simulation.MACHINES` that is most like this one."""
    if any(device.is_gpu for device in _core.list_devices()):
        return "one-gpu"
    return "two-cores" if len(usable_cpus()) > 1 else "shared-cores"


def find_pairs(models: Sequence[ReadModel], assumptions: Assumptions) -> list[LocalPair]:
    """The pairs of a target and a draft that reads fewer bytes in a step."""
    rule = _Rule()
    found = []
    for target in models:
        pairs = []
        for draft in models:
            if draft.model.step_bytes >= target.model.step_bytes:
                continue
            checked = rule.check(target, draft)
            if checked is None:
                continue
            ratio = target.model.step_bytes / draft.model.step_bytes
            pairs.append(
                LocalPair(
                    target=target.model.path,
                    draft=draft.model.path,
                    n_common=checked.n_common,
                    ratio=round(ratio, 2),
                    gain=_gain(ratio, assumptions),
                )
            )
        found += sorted(pairs, key=_expected, reverse=True)
    return found


def _expected(pair: LocalPair) -> tuple[float, float]:
    return (pair.gain.expected, pair.ratio)


class _Rule:
    """The engine's own rule. It takes a second with large vocabularies, so equal cases are asked
    once, and different tokenizers are not asked at all.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], _core.PairCheck | None] = {}

    def check(self, target: ReadModel, draft: ReadModel) -> _core.PairCheck | None:
        """``None``: the draft does not fit."""
        if _unrelated(target.header, draft.header):
            return None
        key = (*_case(target), *_case(draft))
        if key not in self._known:
            try:
                self._known[key] = _core.check_pair(
                    os.fsencode(target.model.path), os.fsencode(draft.model.path)
                )
            except SpecBranchError:
                self._known[key] = None
        return self._known[key]


def _case(one: ReadModel) -> tuple[str, str]:
    """Everything of a model on which the rule depends."""
    return one.header.vocabulary, one.model.architecture


def _unrelated(target: Header, draft: Header) -> bool:
    """Whether most tokens with equal ids differ. No rule can accept such a pair."""
    both = list(zip(target.sample, draft.sample, strict=False))
    equal = sum(one == other for one, other in both)
    return len(both) >= _ENOUGH and equal < _ANOTHER * len(both)


def _gain(ratio: float, assumptions: Assumptions) -> Gain:
    rates = (assumptions.alpha, assumptions.alpha_low, assumptions.alpha_high)
    return Gain(*(_speedup(float(f"{ratio:.2g}"), rate, assumptions.machine) for rate in rates))


@cache
def _speedup(ratio: float, alpha: float, machine: str) -> float:
    usual = Pair()
    assert isinstance(usual.target_us, float)
    pair = Pair(alpha=alpha, draft_us=usual.target_us / ratio)
    return round(simulation.simulate(pair, machine, "auto", n_tokens=_N_TOKENS).speedup, 2)
