"""Log-probabilities as Ollama writes them: a list with an object for each token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ollama_logprobs"]

_NO_TEXT = "bytes:"
_BYTE = re.compile(r"\\x([0-9a-f]{2})")


def ollama_logprobs(given: Mapping[str, Any] | None, n_top: int) -> list[dict[str, Any]]:
    """The log-probabilities of a choice; empty: it has none.

    Args:
        given: the field ``logprobs`` of a chat, or the lists of a completion.
        n_top: the number of alternatives in the lists of a completion. They may have one more, the
            chosen token.
    """
    if not given:
        return []
    if "tokens" not in given:
        return [_with_top(one, one["top_logprobs"]) for one in given["content"] or ()]
    tokens = zip(given["tokens"], given["token_logprobs"], given["top_logprobs"], strict=True)
    return [
        _with_top(_token(name, logprob), [_token(*each) for each in [*(top or {}).items()][:n_top]])
        for name, logprob, top in tokens
    ]


def _with_top(token: Mapping[str, Any], top: list[dict[str, Any]]) -> dict[str, Any]:
    """A token with its alternatives. Ollama leaves an empty list out."""
    alone = {name: token[name] for name in ("token", "logprob", "bytes")}
    return {**alone, "top_logprobs": top} if top else alone


def _token(name: str, logprob: float | None) -> dict[str, Any]:
    """A token of a completion, which names bytes that are no text alone."""
    if not name.startswith(_NO_TEXT):
        return {"token": name, "logprob": logprob, "bytes": list(name.encode(errors="replace"))}
    text = name.removeprefix(_NO_TEXT)
    return {"token": text, "logprob": logprob, "bytes": [int(n, 16) for n in _BYTE.findall(text)]}
