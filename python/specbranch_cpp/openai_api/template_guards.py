"""Checks before a filter or a method whose result may be much larger than the value.

All other filters and methods make something that is about as large as what they get.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp.openai_api.template_limits import NUMBER_BITS, WIDTH, LimitError

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.template_limits import Meter

__all__ = [
    "FILTERS",
    "FilterCall",
    "check_join",
    "check_method",
    "check_percent",
    "check_power",
    "check_widths",
    "collected",
]

_PARENTHESIS = re.compile(r"[()]")
_SPECIFIER = re.compile(r"[#0\- +]*(\*|\d*)(?:\.(\*|\d*))?[hlL]?.?", re.DOTALL)
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_MANY = 100_000  # parts of a text
_SLOW = 20_000  # characters for filters that look at a text many times
_SEARCH = 1 << 28  # characters of a text, times those of a text that is searched from the right
_WORDY = 1 << 20  # characters for filters that make a value for each word

_PADDED = frozenset(["center", "ljust", "rjust", "zfill"])
_SEARCHED = frozenset(["rfind", "rindex", "rpartition", "rsplit"])
_STRIPPED = frozenset(["strip", "lstrip", "rstrip"])
_TEXT = _PADDED | _SEARCHED | _STRIPPED | {
    "capitalize", "casefold", "count", "endswith", "expandtabs", "find", "format", "format_map",
    "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower",
    "isnumeric", "isprintable", "isspace", "istitle", "isupper", "join", "lower", "partition",
    "removeprefix", "removesuffix", "replace", "split", "splitlines", "startswith", "swapcase",
    "title", "upper",
}  # fmt: skip
_SEQUENCE = frozenset(["copy", "count", "index"])
_METHODS: tuple[tuple[type, frozenset[str]], ...] = (
    (str, frozenset(_TEXT)),
    (list, _SEQUENCE),
    (tuple, _SEQUENCE),
    (range, _SEQUENCE),
    (dict, frozenset(["copy", "get", "items", "keys", "values"])),
    (int, frozenset(["bit_length", "is_integer"])),
    (float, frozenset(["is_integer"])),
)


def collected(values: Any) -> Any:
    """What a generator gives, as a list, because it can be read only once; other values as is."""
    if isinstance(values, (list, tuple, dict, set, str)) or not isinstance(values, Iterable):
        return values
    return list(values)


def check_widths(widths: Iterable[Any]) -> None:
    """Checks the widths of a format, which are numbers or digits.

    Raises:
        LimitError: a width is too large.
    """
    for width in widths:
        digits = isinstance(width, str) and len(width.lstrip("0")) > len(str(WIDTH))
        if digits or (width and abs(int(width)) > WIDTH):
            raise LimitError(f"a width is above {WIDTH}")


def check_power(base: int, exponent: int) -> None:
    """Checks a power before it is computed.

    Raises:
        LimitError: the number is too large.
    """
    if base.bit_length() * abs(exponent) > NUMBER_BITS:
        raise LimitError(f"a number has more than {NUMBER_BITS} bits")


def check_percent(meter: Meter, form: str | bytes, values: Any) -> None:
    """Checks ``form % values`` before it is computed.

    Raises:
        LimitError: the text may become too long.
    """
    if len(form) > _SLOW:
        raise LimitError(f"the text before % has more than {_SLOW:,} characters")
    text = form.decode("latin-1") if isinstance(form, bytes) else form
    found = [*_specifiers(text)]
    widths: list[Any] = [width for pair in found for width in pair if width != "*"]
    if any("*" in pair for pair in found):
        widths += [one for one in _listed(values) if isinstance(one, int)]
    check_widths(widths)
    n_uses = len(found) if isinstance(values, Mapping) else 1  # a place may name any value
    meter.room(len(text) + n_uses * meter.weigh(values) + len(found) * 2 * WIDTH)


def _specifiers(form: str) -> Iterator[tuple[str, str]]:
    """The width and the precision of each place in a form for %."""
    at = form.find("%") + 1
    while at:
        if form.startswith("(", at):
            depth = 0  # a name may have parentheses in pairs
            for found in _PARENTHESIS.finditer(form, at):
                depth += 1 if found.group() == "(" else -1
                if not depth:
                    at = found.end()
                    break
            else:
                return  # Python refuses such a form
        specifier = _SPECIFIER.match(form, at)
        assert specifier is not None
        yield specifier.group(1), specifier.group(2) or ""
        at = form.find("%", specifier.end()) + 1


def check_join(meter: Meter, values: Any, separator: str) -> None:
    """Checks texts before they are joined.

    Raises:
        LimitError: the whole text would be too long.
    """
    meter.room(meter.weigh(values) + len(values) * len(separator))


def check_method(
    meter: Meter, owner: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Checks a call of a method of a built-in value.

    Raises:
        LimitError: the method is not for templates, or its result would be too large.
    """
    allowed = next((names for kind, names in _METHODS if isinstance(owner, kind)), frozenset())
    if name not in allowed:
        raise LimitError(f"{type(owner).__name__}.{name} is not for templates")
    given = [*args, *kwargs.values()]
    if name in _PADDED or name == "expandtabs":
        check_widths(one for one in given if isinstance(one, int))
        if name == "expandtabs":
            meter.room(len(owner) + owner.count("\t") * WIDTH)
    elif name in _SEARCHED:
        longest = max((len(one) for one in given if isinstance(one, str)), default=0)
        if len(owner) * longest > _SEARCH:
            raise LimitError("a text is searched from the right for a long text")
    elif name in _STRIPPED:
        check_widths(len(one) for one in given if isinstance(one, str))
    elif name == "replace":
        _check_replace(meter, owner, given)
    elif name == "join" and given and isinstance(given[0], Iterable):
        check_join(meter, given[0], owner)
    if name in ("split", "rsplit"):
        _check_split(owner, given)
    elif name == "splitlines" and sum(owner.count(each) for each in _LINE_ENDS) > _MANY:
        raise LimitError(f"a text has more than {_MANY:,} lines")


def _check_split(text: str, given: Sequence[Any]) -> None:
    separator = next((one for one in given if isinstance(one, str)), None)
    limits = [one for one in given if isinstance(one, int) and one >= 0]
    if limits and min(limits) <= _MANY:
        return
    if len(text) > _MANY and separator != "" and len(text.split(separator, _MANY)) > _MANY:
        raise LimitError(f"a text is split into more than {_MANY:,} parts")


def _check_replace(meter: Meter, text: str, given: Sequence[Any]) -> None:
    if len(given) >= 2 and isinstance(given[0], str) and isinstance(given[1], str):
        n_found = text.count(given[0])
        meter.room(len(text) + n_found * len(given[1]))


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, tuple) else [values]


@dataclass(frozen=True)
class FilterCall:
    """A filter with its value and its arguments."""

    meter: Meter
    value: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def given(self) -> list[Any]:
        """All arguments."""
        return [*self.args, *self.kwargs.values()]


def _replaced(call: FilterCall) -> Any:
    text = call.meter.text(call.value)
    named = [call.kwargs[name] for name in ("old", "new") if name in call.kwargs]
    _check_replace(call.meter, text, [str(one) for one in [*call.args, *named][:2]])
    return call.value


def _formatted(call: FilterCall) -> Any:
    values = dict(call.kwargs) if call.kwargs else tuple(call.args)
    check_percent(call.meter, call.meter.text(call.value), values)
    return call.value


def _listed_text(call: FilterCall) -> Any:
    """For a list of the characters of a text."""
    if isinstance(call.value, str):
        call.meter.room(16 * len(call.value))
    return call.value


def _small(call: FilterCall) -> Any:
    """For filters that look at their text many times."""
    call.meter.weigh([call.value, *call.given], _SLOW)
    return _narrow(call)


def _wordy(call: FilterCall) -> Any:
    if isinstance(call.value, str) and len(call.value) > _WORDY:
        raise LimitError(f"a text with words has more than {_WORDY:,} characters")
    return call.value


def _narrow(call: FilterCall) -> Any:
    """For filters whose numbers are widths."""
    check_widths(one for one in call.given if isinstance(one, int))
    check_widths(len(one) for one in call.given if isinstance(one, str))
    return call.value


def _indented(call: FilterCall) -> Any:
    _narrow(call)
    width = call.args[0] if call.args else call.kwargs.get("width", 4)
    text = call.meter.text(call.value)
    n_lines = 1 + sum(text.count(each) for each in _LINE_ENDS)
    width = len(width) if isinstance(width, str) else int(width)
    call.meter.room(len(text) + n_lines * width)
    return call.value


def _as_number(call: FilterCall) -> Any:
    if isinstance(call.value, str):
        check_widths([len(call.value)])
    return call.value


def _as_text(call: FilterCall) -> Any:
    """For filters that make a text of their value."""
    call.meter.weigh(call.value)
    return call.value


FILTERS: Mapping[str, Callable[[FilterCall], Any]] = {
    "batch": _narrow,
    "center": _narrow,
    "float": _as_number,
    "format": _formatted,
    "indent": _indented,
    "int": _as_number,
    "list": _listed_text,
    "pprint": _small,
    "replace": _replaced,
    "round": _narrow,
    "slice": _narrow,
    "string": _as_text,
    "striptags": _small,
    "title": _wordy,
    "trim": _narrow,
    "urlencode": _wordy,
    "urlize": _small,
    "wordcount": _wordy,
    "wordwrap": _small,
    "xmlattr": _small,
}
"""What is checked before a filter. The result is the value that the filter gets."""
