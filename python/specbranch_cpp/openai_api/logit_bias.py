"""``logit_bias`` in the shapes of OpenAI, llama-cpp-python and llama-server."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp._engine.text_engine import TextEngine

__all__ = ["LogitBias", "biases_of", "checked_pairs"]

LogitBias = Mapping[Any, float] | Sequence[Sequence[Any]]
"""Tokens and the values to add to their logits: a mapping, or a list of pairs.

A token is its id, its id as text (as in JSON), or a text that is no whole number, all tokens of
which get the value.
The value ``False`` forbids the token, as in llama-server.
"""

_NUMBER = re.compile(r"-?[0-9]+")
_MOST_DIGITS = 20
"""Of a number in a text. Python does not convert some thousand digits."""


def biases_of(engine: TextEngine, value: Any) -> dict[int, float] | None:
    """The value of each token. ``None``: there is no bias. The last value of a token holds.

    Raises:
        InvalidArgument: the value has another shape, or an id is not in the vocabulary.
    """
    if value is None:
        return None
    biases: dict[int, float] = {}
    for token, number in checked_pairs(value):
        for one in _tokens(engine, token):
            biases[one] = number
    return biases


def checked_pairs(value: Any) -> list[tuple[int | str, float]]:
    """The tokens and their values, without a look at the vocabulary.

    Raises:
        InvalidArgument: the value has another shape.
    """
    pairs = []
    for name, token, amount in _pairs(value):
        number = float("-inf") if amount is False else checked.real(name, amount)
        if math.isnan(number) or number == math.inf:
            raise InvalidArgument(f"{name} is {number}; it must be a number, or -inf or False")
        if token == "":
            raise InvalidArgument("logit_bias has an empty text; it must be a token id or a text")
        if isinstance(token, str):
            checked.encoded("logit_bias", token)
            token = _number(token) if _NUMBER.fullmatch(token) else token  # noqa: PLW2901
        else:
            token = checked.integer("logit_bias token", token)  # noqa: PLW2901
        pairs.append((token, number))
    return pairs


def _pairs(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """The name in messages, the token and the value of each pair."""
    if isinstance(value, Mapping):
        for token, amount in value.items():
            yield f"logit_bias[{token!r:.60}]", token, amount
        return
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise InvalidArgument(
            f"logit_bias is {value!r:.100}; it must be a mapping of tokens to numbers, or a list "
            "of pairs"
        )
    for index, pair in enumerate(value):
        name = f"logit_bias[{index}]"
        if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise InvalidArgument(
                f"{name} is {pair!r:.100}; it must be a pair of a token and a number"
            )
        yield name, pair[0], pair[1]


def _number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise InvalidArgument(f"logit_bias token is {text:.20}...; no vocabulary has this id")
    return int(text)


def _tokens(engine: TextEngine, token: int | str) -> list[int]:
    if isinstance(token, str):
        return engine.tokenize(token, add_bos=False)
    return [checked.integer("logit_bias token", token, 0, engine.vocab_size - 1)]
