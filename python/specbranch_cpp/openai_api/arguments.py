"""The arguments and the results of calls in the messages of a chat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

__all__ = ["plain_arguments", "read_json"]


def plain_arguments(name: str, arguments: Any) -> dict[str, Any] | str:
    """The arguments as an object. Text that is not JSON of an object stays text.

    A model may write arguments that a limit cut off. The client sends them back with the error of
    the function, and the model must see what it wrote.

    Raises:
        InvalidArgument: the arguments are not JSON values, or they are not valid Unicode.
    """
    if arguments is None:
        return {}
    if isinstance(arguments, str):
        checked.encoded(name, arguments)
        if not arguments.strip():
            return {}
        value = read_json(arguments)
        if value is None:
            return {}
        return value if isinstance(value, dict) else arguments
    if isinstance(arguments, Mapping):
        return dict(arguments)
    try:
        return json.dumps(arguments, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{name} is not JSON: {error}") from None


def read_json(text: str) -> Any:
    """The JSON value of a text, or the text if it is not JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()  # an escape can be half a character
    except (ValueError, RecursionError):
        return text
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
