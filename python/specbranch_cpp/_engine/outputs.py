"""What a generation gives to its reader: from the core, or from the core of another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = [
    "End", "Output", "RemoteEnd", "RemoteQuestion", "RemoteToken", "is_end", "is_question",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RemoteToken:
    """The same as `_core.Token`."""

    token: int
    data: bytes
    origin: str
    logprob: float
    top: list[tuple[int, float]]


@dataclass(frozen=True)
class RemoteEnd:
    """The same as `_core.GenerationEnd`."""

    tail: bytes
    stop: str
    finish_reason: str
    draft_error: str
    stats: Any
    trace: Any


@dataclass(frozen=True)
class RemoteQuestion:
    """The same as `_core.PolicyRequest`."""

    mode: str
    position: int
    acceptance: float
    target_us: float
    draft_us: float
    path: Any
    nodes: Any
    limits: Any
    features: Any
    outcomes: Any


End = _core.GenerationEnd | RemoteEnd
Output = _core.Token | RemoteToken | End


def is_end(output: Output | _core.PolicyRequest | RemoteQuestion) -> TypeIs[End]:
    """Whether it is the end of the text."""
    return isinstance(output, (_core.GenerationEnd, RemoteEnd))


def is_question(
    output: Output | _core.PolicyRequest | RemoteQuestion,
) -> TypeIs[_core.PolicyRequest | RemoteQuestion]:
    """Whether it is a round that the policy must plan."""
    return isinstance(output, (_core.PolicyRequest, RemoteQuestion))
