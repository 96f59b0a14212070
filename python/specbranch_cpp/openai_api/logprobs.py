"""Log-probabilities in OpenAI's two shapes."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.vocabulary import name_of, piece_of

if TYPE_CHECKING:
    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp.openai_api.types import (
        ChatLogprobs,
        CompletionLogprobs,
        TokenLogprob,
        TopLogprob,
    )
    from specbranch_cpp.results import TokenLogprobs

__all__ = ["ChatStyle", "CompletionStyle", "n_of_chat"]


def n_of_chat(wanted: bool | None, n_top: int | None) -> int | None:
    """The number of alternatives that ``logprobs`` and ``top_logprobs`` of a chat request.
    ``None``: no log-probabilities.
    """
    if wanted is not None:
        checked.flag("logprobs", wanted)
    if n_top is not None:
        n_top = checked.integer("top_logprobs", n_top, 0)
    if wanted:
        return n_top or 0
    if n_top:
        raise InvalidArgument(f"top_logprobs is {n_top}; it needs logprobs=True")
    return None


class CompletionStyle:
    """Builds the lists of `create_completion`, one token at a time.

    Args:
        engine: the engine with the vocabulary.
        offset: number of characters before the first token.
    """

    def __init__(self, engine: TextEngine, offset: int) -> None:
        self._engine = engine
        self._offset = offset
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def entry(self, token: TokenLogprobs) -> CompletionLogprobs:
        """The lists with this one token."""
        offset = self._offset
        self._offset += len(self._decoder.decode(piece_of(self._engine, token.token)))
        top = {self._text(other): logprob for other, logprob in token.top.items()}
        top.setdefault(self._text(token.token), token.logprob)
        return {
            "tokens": [self._text(token.token)],
            "text_offset": [offset],
            "token_logprobs": [token.logprob],
            "top_logprobs": [top],
        }

    def unscored(self, token: int) -> CompletionLogprobs:
        """The lists with the first token of a prompt, which has no log-probability."""
        offset = self._offset
        self._offset += len(self._decoder.decode(piece_of(self._engine, token)))
        return {
            "tokens": [self._text(token)],
            "text_offset": [offset],
            "token_logprobs": [None],
            "top_logprobs": [None],
        }

    @staticmethod
    def joined(entries: list[CompletionLogprobs]) -> CompletionLogprobs:
        """The lists of the whole text."""
        return {
            "tokens": [one for entry in entries for one in entry["tokens"]],
            "text_offset": [one for entry in entries for one in entry["text_offset"]],
            "token_logprobs": [one for entry in entries for one in entry["token_logprobs"]],
            "top_logprobs": [one for entry in entries for one in entry["top_logprobs"]],
        }

    def _text(self, token: int) -> str:
        return _written(name_of(self._engine, token), "bytes:")


class ChatStyle:
    """Builds the list of `create_chat_completion`, one token at a time."""

    def __init__(self, engine: TextEngine) -> None:
        self._engine = engine

    def entry(self, token: TokenLogprobs) -> ChatLogprobs:
        """The list with this one token."""
        one: TokenLogprob = {
            **self._one(token.token, token.logprob),
            "top_logprobs": [self._one(other, logprob) for other, logprob in token.top.items()],
        }
        return {"content": [one], "refusal": None}

    @staticmethod
    def joined(entries: list[ChatLogprobs]) -> ChatLogprobs:
        """The list of the whole answer."""
        return {
            "content": [one for entry in entries for one in entry["content"] or ()],
            "refusal": None,
        }

    def _one(self, token: int, logprob: float) -> TopLogprob:
        name = name_of(self._engine, token)
        return {"token": _written(name, ""), "logprob": logprob, "bytes": list(name)}


def _written(name: bytes, prefix: str) -> str:
    """The text of a token. Bytes that are not valid UTF-8 alone are escaped."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return prefix + "".join(f"\\x{byte:02x}" for byte in name)
