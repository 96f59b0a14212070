"""llama-cpp-python's keywords: what `Engine.generate` gets of them, and what is refused and why."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

__all__ = ["generate_arguments", "include_usage"]

_PASSED = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "mode",
    "policy",
    "k_max",
    "max_draft",
    "trace",
)


def generate_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Engine.generate`, all but prompt and logprobs, from those of a call.

    Raises:
        InvalidArgument: a keyword asks for what the engine cannot do; `Engine.generate` checks the
            values of the others.
    """
    _refuse(given)
    arguments = {name: given[name] for name in _PASSED}
    arguments["max_tokens"] = _max_tokens(given)
    arguments["seed"] = _seed(given["seed"])
    arguments["grammar"] = _grammar(given["grammar"])
    arguments["logit_bias"] = _logit_bias(given["logit_bias"])
    return arguments


def include_usage(given: Mapping[str, Any]) -> bool:
    """Whether ``stream_options`` ask for a last chunk with the usage."""
    options = given["stream_options"]
    if options is None:
        return False
    if not isinstance(options, Mapping):
        raise InvalidArgument(f"stream_options is {options!r}; it must be a mapping or None")
    if not given["stream"]:
        raise InvalidArgument("stream_options are given; they go with stream=True only")
    for name in options:
        if name not in {"include_usage", "include_obfuscation"}:
            raise InvalidArgument(f"stream_options has {name!r}; it may have include_usage")
    return checked.flag("stream_options['include_usage']", options.get("include_usage") or False)


def _refuse(given: Mapping[str, Any]) -> None:
    for name, what in (("typical_p", "typical sampling"), ("tfs_z", "tail-free sampling")):
        if checked.real(name, given[name]) < 1.0:
            raise InvalidArgument(
                f"{name} is {given[name]}; {what} is not there: it must be 1.0 (off). "
                "top_p and min_p do similar things"
            )
    if checked.integer("mirostat_mode", given["mirostat_mode"]) != 0:
        raise InvalidArgument(
            f"mirostat_mode is {given['mirostat_mode']}; it must be 0 (off): mirostat has a memory "
            "of its own, so that the text would depend on how it was speculated"
        )
    for name in ("mirostat_tau", "mirostat_eta"):  # without a meaning while it is off
        checked.real(name, given[name])
    for name in ("stopping_criteria", "logits_processor"):
        value = given.get(name)
        if value is not None and not (isinstance(value, Sized) and len(value) == 0):
            raise InvalidArgument(
                f"{name} is given; it must be None: it would have to run in Python between the "
                "target's tokens. stop, logit_bias and grammar are there"
            )


def _max_tokens(given: Mapping[str, Any]) -> int | None:
    """None and numbers below 1: until the context is full."""
    name = "max_tokens"
    if given.get("max_completion_tokens") is not None:
        if given["max_tokens"] is not None:
            raise InvalidArgument(
                "max_tokens and max_completion_tokens are given; one must be None"
            )
        name = "max_completion_tokens"
    value = given[name]
    if value is None or checked.integer(name, value) <= 0:
        return None
    return checked.integer(name, value)


def _seed(value: Any) -> int | None:
    """-1, as in llama.cpp, draws one too."""
    return None if value is None or value == -1 else value


def _grammar(value: Any) -> str | None:
    """GBNF, also that of an object like llama-cpp-python's ``LlamaGrammar``."""
    if value is None or isinstance(value, str):
        return value
    text = getattr(value, "_grammar", None)
    if not isinstance(text, str):
        raise InvalidArgument(f"grammar is {value!r}; it must be GBNF text, a LlamaGrammar or None")
    return text


def _logit_bias(value: Any) -> Any:
    """Keys may be ids as text, as they are in JSON."""
    if not isinstance(value, Mapping):
        return value
    return {
        int(token) if isinstance(token, str) and token.isascii() and token.isdigit() else token: b
        for token, b in value.items()
    }
