"""The fields of a request: which the server passes on, refuses or ignores, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from specbranch_cpp.server.other_fields import HARMLESS, UNSUPPORTED, Rule, other_than

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

__all__ = ["IGNORED", "KNOWN", "Items", "refusal", "whole_number", "without_nulls"]

_EXACT_IN_FLOATS = 2**53

ItemT = TypeVar("ItemT")
Items = Annotated[list[ItemT], Field(fail_fast=True)]
"""A list whose first wrong item ends the check: an error for each of millions takes minutes."""

# These fields do not change the text.
IGNORED = HARMLESS | frozenset(
    {
        "cache_prompt",
        "metadata",
        "model",
        "moderation",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "return_progress",
        "safety_identifier",
        "service_tier",
        "store",
        "timings_per_token",
        "user",
        "verbosity",
    }
)


NOT_A_SAMPLER = "llama.cpp does not have this sampler; remove the field"

# As `UNSUPPORTED`, for what this server does not do.
REFUSED: dict[str, Rule] = {
    "best_of": (
        lambda value, body: value != 1 and "messages" in body,
        "chats have no such field; give n, and choose among the answers",
    ),
    "audio": (other_than(), "this server generates text only"),
    "modalities": (other_than(["text"]), "this server generates text only"),
    "web_search_options": (other_than(), "this server has no web search"),
    "tfs_z": (other_than(1), NOT_A_SAMPLER),
    "top_a": (other_than(0), NOT_A_SAMPLER),
    "epsilon_cutoff": (other_than(0), NOT_A_SAMPLER),
    "eta_cutoff": (other_than(0), NOT_A_SAMPLER),
    "smoothing_factor": (other_than(0), NOT_A_SAMPLER),
}


_RULES = {**REFUSED, **UNSUPPORTED}

KNOWN = IGNORED | frozenset(_RULES)
"""Fields that are not reported as ignored."""


def refusal(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first field of a body that the server refuses, and why. ``None``: it refuses no field."""
    for name, value in data.items():
        if value is None or name not in _RULES:
            continue
        asks, why = _RULES[name]
        if asks(value, data):
            return name, f"{name} is {value!r:.100}; {why}"
    return None


def whole_number(value: Any) -> Any:
    """16 for 16.0: languages with one kind of number write integers like this."""
    is_whole = type(value) is float and value.is_integer() and abs(value) <= _EXACT_IN_FLOATS
    return int(value) if is_whole else value


def without_nulls(kind: type[BaseModel], data: Any) -> Any:
    """The fields of a body without those whose null stands for a default."""
    if not isinstance(data, dict):
        return data
    known = kind.model_fields
    return {
        name: value
        for name, value in data.items()
        if value is not None
        or name not in known
        or known[name].is_required()
        or known[name].get_default(call_default_factory=True) is None
    }
