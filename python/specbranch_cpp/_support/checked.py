"""Checks of arguments: exact types here, most ranges in the core."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from specbranch_cpp.errors import InvalidArgument

_FLOAT32_MAX = 3.4028234663852886e38


def integer(name: str, value: Any, low: int = -(2**31), high: int = 2**31 - 1) -> int:
    """An `int`, or an integer of another type (`numpy.int64`). A `bool` or `float` is refused."""
    if isinstance(value, bool):
        raise InvalidArgument(f"{name} is {value!r}; it must be an integer")
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgument(f"{name} is {_shown(value)}; it must be an integer") from None
    if not low <= number <= high:
        raise InvalidArgument(f"{name} is {_written(number)}; it must be in {low} .. {high}")
    return number


def real(name: str, value: Any) -> float:
    """A `float`, an `int` or a NumPy number. A `bool`, also one of NumPy, or `str` is refused."""
    is_bool = isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b"
    if is_bool or isinstance(value, (str, bytes, bytearray)):
        raise InvalidArgument(f"{name} is {_shown(value)}; it must be a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{name} is {_shown(value)}; it must be a number") from None
    if math.isfinite(number) and abs(number) > _FLOAT32_MAX:
        raise InvalidArgument(
            f"{name} is {number}; it must fit into a 32-bit floating point number"
        )
    return number


def share(name: str, value: Any) -> float:
    """A number from 0 to 1."""
    if not 0.0 <= (number := real(name, value)) <= 1.0:
        raise InvalidArgument(f"{name} is {value}; it must be in 0 .. 1")
    return number


def at_least(name: str, value: Any, low: float) -> float:
    """A finite number that is not below ``low``."""
    number = real(name, value)
    if not low <= number < math.inf:
        raise InvalidArgument(f"{name} is {number}; it must be a number that is at least {low:g}")
    return number


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} is {_shown(value)}; it must be True or False")
    return value


def text(name: str, value: Any) -> str:
    """A `str` that is valid Unicode."""
    encoded(name, value)
    return value  # type: ignore[no-any-return]


def encoded(name: str, value: Any) -> bytes:
    """The UTF-8 of a `str`."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} is {_shown(value)}; it must be a str")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{name} has a lone surrogate {value[error.start]!r} at index {error.start}; it "
            "must be valid Unicode text"
        ) from None


def path(name: str, value: Any) -> bytes:
    """The bytes of a path. No file has a name with a zero byte."""
    try:
        encoded = os.fsencode(value)
    except (TypeError, UnicodeEncodeError):
        raise InvalidArgument(f"{name} is {_shown(value)}; it must be a path") from None
    if b"\0" in encoded:
        raise InvalidArgument(f"{name} is {_shown(value)}; a path must have no zero byte")
    return encoded


def tokens(name: str, values: Any, n_vocab: int, form: str = "a str or token ids") -> list[int]:
    """Token ids of a vocabulary of `n_vocab`."""
    if not is_sequence(values):
        raise InvalidArgument(f"{name} is {_shown(values)}; it must be {form}")
    ids = list(values)
    if all(type(token) is int and 0 <= token < n_vocab for token in ids):
        return ids
    return [integer(f"{name}[{i}]", token, 0, n_vocab - 1) for i, token in enumerate(ids)]


def integers(name: str, values: Any, low: int, high: int) -> list[int]:
    return [integer(f"{name}[{i}]", value, low, high) for i, value in items(name, values)]


def reals(name: str, values: Any) -> list[float]:
    return [real(f"{name}[{i}]", value) for i, value in items(name, values)]


def texts(name: str, values: Any) -> list[str]:
    return [text(f"{name}[{i}]", value) for i, value in items(name, values)]


def stop_strings(value: Any) -> list[bytes]:
    if value is None:
        return []
    if isinstance(value, str):
        return [encoded("stop", value)]
    if not isinstance(value, Iterable):
        raise InvalidArgument(f"stop is {_shown(value)}; it must be a sequence of str, or a str")
    return [encoded(f"stop[{i}]", item) for i, item in items("stop", value)]


def bias(name: str, value: Any, n_vocab: int) -> list[tuple[int, float]]:
    """Token ids of a vocabulary of `n_vocab`, and a number for each."""
    if not isinstance(value, Mapping):
        raise InvalidArgument(
            f"{name} is {_shown(value)}; it must be a mapping of token ids to numbers"
        )
    return [
        (integer(f"{name} token", token, 0, n_vocab - 1), real(f"{name}[{token}]", amount))
        for token, amount in value.items()
    ]


def grammar(name: str, value: Any, form: str = "GBNF with a rule root") -> str:
    """A grammar without wrong characters. llama.cpp or llguidance checks the syntax."""
    if not encoded(name, value).strip():
        raise InvalidArgument(f"{name} is empty; it must be {form}, or None")
    if "\0" in value:
        raise InvalidArgument(f"{name} has a zero byte; it must be {form}")
    return text(name, value)


def items(name: str, values: Any) -> Iterable[tuple[int, Any]]:
    """The values of a sequence that is no text, with their indexes."""
    if not is_sequence(values):
        raise InvalidArgument(f"{name} is {_shown(values)}; it must be a sequence")
    return enumerate(values)


def lasting(value: Any) -> Any:
    """The value; what can be read only once, as a list."""
    return list(value) if isinstance(value, Iterator) else value


def is_sequence(values: Any) -> bool:
    """Whether it has several values. An array without dimensions only looks as if it had."""
    if isinstance(values, (str, bytes, bytearray, Mapping)) or not isinstance(values, Iterable):
        return False
    return getattr(values, "ndim", 1) != 0


def _shown(value: Any) -> str:
    """The value and its type, for a message."""
    shown = _written(value)
    return f"{shown if len(shown) <= 60 else shown[:57] + '...'} ({type(value).__name__})"


def _written(value: Any) -> str:
    """The value as Python writes it. Python does not write integers with thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return "a number with too many digits"
