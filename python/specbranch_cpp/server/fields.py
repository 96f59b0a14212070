"""The fields of a request: which the server passes on, refuses or ignores, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.server.other_fields import HARMLESS, UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["IGNORED", "KNOWN", "refusal"]

# These fields do not change the text.
IGNORED = HARMLESS | frozenset(
    {
        "cache_prompt",
        "metadata",
        "model",
        "moderation",
        "prediction",
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


def _not(*neutral: object) -> Callable[[Any], bool]:
    return lambda value: value not in neutral


ONE_ANSWER = "a request generates one text; send several requests instead"
NOT_A_SAMPLER = "llama.cpp does not have this sampler; remove the field"

# Field -> whether its value requests something, and why the server refuses the field.
# Null requests nothing.
REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n": (_not(1), ONE_ANSWER),
    "n_cmpl": (_not(1), ONE_ANSWER),
    "best_of": (_not(1), ONE_ANSWER),
    "audio": (_not(), "this server generates text only"),
    "modalities": (_not(["text"]), "this server generates text only"),
    "web_search_options": (_not(), "this server has no web search"),
    "tfs_z": (_not(1), NOT_A_SAMPLER),
    "top_a": (_not(0), NOT_A_SAMPLER),
    "epsilon_cutoff": (_not(0), NOT_A_SAMPLER),
    "eta_cutoff": (_not(0), NOT_A_SAMPLER),
    "smoothing_factor": (_not(0), NOT_A_SAMPLER),
}


KNOWN = IGNORED | frozenset(REFUSED) | frozenset(UNSUPPORTED)
"""Fields that are not reported as ignored."""


def refusal(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first field of a body that the server refuses, and why. ``None``: it refuses no field."""
    for name, value in data.items():
        if value is None:
            continue
        why = None
        if name in REFUSED and REFUSED[name][0](value):
            why = REFUSED[name][1]
        elif name in UNSUPPORTED and UNSUPPORTED[name][0](value, data):
            why = UNSUPPORTED[name][1]
        if why is not None:
            return name, f"{name} is {value!r:.100}; {why}"
    return None
