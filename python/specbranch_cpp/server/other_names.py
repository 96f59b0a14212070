"""Fields under the names of other servers: llama-server, vLLM, SGLang, Ollama and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.openai_api.templates import EFFORT
from specbranch_cpp.server.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["effort_field", "smallest_limit", "with_own_names"]


_LIMITS = ("n_predict", "num_predict", "max_new_tokens", "max_output_tokens")

# The name in another server -> our name.
_NAMES = {
    "repetition_penalty": "repeat_penalty",
    "repetition_penalty_range": "repeat_last_n",
    "typical": "typical_p",
    "random_seed": "seed",
    "stop_sequences": "stop",
    "stop_strings": "stop",
    "ban_eos_token": "ignore_eos",
    "min_new_tokens": "min_tokens",
    "n_cmpl": "n",
    "num_return_sequences": "n",
}


def smallest_limit(data: Mapping[str, Any]) -> int | None:
    """The smallest number of tokens under all names. ``None``: no limit is given, or no number."""
    names = ("max_tokens", "max_completion_tokens", *_LIMITS)
    sizes = [data[name] for name in names if type(data.get(name)) is int and data[name] > 0]
    return min(sizes, default=None)


def effort_field(data: Mapping[str, Any]) -> str | None:
    """The name of the field of a chat whose effort the template gets.

    ``None``: there is no such field, or ``chat_template_kwargs`` has the variable.
    """
    variables, reasoning = data.get("chat_template_kwargs"), data.get("reasoning")
    if isinstance(variables, dict) and EFFORT in variables:
        return None
    if data.get("reasoning_effort") is not None:
        return "reasoning_effort"
    is_inside = isinstance(reasoning, dict) and reasoning.get("effort") is not None
    return "reasoning.effort" if is_inside else None


def with_own_names(data: Mapping[str, Any], *, chat: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields of a body under our names, and the names that the client used for them.

    Raises:
        BadRequest: two names of one field have different values, or a value cannot be obeyed.
    """
    own = dict(data)
    said: dict[str, str] = {}
    for name, ours in _NAMES.items():
        value = own.pop(name, None)
        if value is None:
            continue
        if own.get(ours) is None:
            own[ours] = value
            said[ours] = name
        elif own[ours] != value:
            first = said.get(ours, ours)
            raise BadRequest(
                f"{first} and {name} are given with different values; give only one of them", first
            )
    _set_limit(own, said, chat=chat)
    if chat:
        _set_thinking(own)
    return own, said


def _set_limit(own: dict[str, Any], said: dict[str, str], *, chat: bool) -> None:
    """Sets ``max_tokens`` to the smallest limit of all names."""
    others = _LIMITS if chat else (*_LIMITS, "max_completion_tokens")
    given = {name: own.pop(name) for name in others if own.get(name) is not None}
    for name in others:
        own.pop(name, None)
    if not given:
        return
    for name, value in given.items():
        if type(value) is int and value == 0:
            raise BadRequest(
                f"{name} is 0; it must be at least 1, or -1 for a text until the context is full",
                name,
                "unsupported_value",
            )
    if own.get("max_tokens") is not None:
        given = {"max_tokens": own["max_tokens"], **given}
    name = min(given, key=lambda one: _size(given[one]))
    own["max_tokens"] = given[name]
    said["max_tokens"] = name


def _size(limit: Any) -> float:
    """The order of limits: a value of a wrong type first, so that it is reported."""
    if type(limit) is not int:
        return -1.0
    return float(limit) if limit > 0 else float("inf")


def _set_thinking(own: dict[str, Any]) -> None:
    """Passes switches of the thoughts to the template, which has its own variables for them."""
    variables: dict[str, Any] = {}
    if (wanted := own.pop("enable_thinking", None)) is not None:
        variables["enable_thinking"] = wanted
    thinking = own.pop("thinking", None)
    if thinking is not None:
        kind = thinking.get("type") if isinstance(thinking, dict) else thinking
        if kind not in ("enabled", "disabled", True, False):
            raise BadRequest(
                f"thinking is {thinking!r:.100}; it must be {{'type': 'enabled'}} or "
                "{'type': 'disabled'}",
                "thinking",
            )
        variables["thinking"] = variables["enable_thinking"] = kind in ("enabled", True)
    effort = own.pop("reasoning_effort", None)
    reasoning = own.pop("reasoning", None)
    if isinstance(reasoning, dict):
        effort = reasoning.get("effort") if effort is None else effort
        if isinstance(reasoning.get("enabled"), bool):
            variables["enable_thinking"] = reasoning["enabled"]
    elif reasoning is not None:
        raise BadRequest(f"reasoning is {reasoning!r:.100}; it must be an object", "reasoning")
    if effort is not None:
        if not isinstance(effort, str):
            raise BadRequest(
                f"reasoning_effort is {effort!r:.60}; it must be a word such as 'low'",
                "reasoning_effort",
            )
        variables[EFFORT] = effort
        if effort == "none":
            variables["enable_thinking"] = False
    given = own.get("chat_template_kwargs")
    if variables and (given is None or isinstance(given, dict)):
        own["chat_template_kwargs"] = {**variables, **(given or {})}
