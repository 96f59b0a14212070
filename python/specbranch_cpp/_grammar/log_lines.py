"""GBNF whose lines cannot be taken for lines of a log.

llama.cpp prints a grammar that it cannot read to standard error, past every log sink. What a client
sent would then begin lines of a server's log, and move the cursor of a terminal.
"""

from __future__ import annotations

import re

from specbranch_cpp.errors import InvalidArgument, printable

__all__ = ["indented"]

# A literal or a class without an end is a part, too: otherwise the search would begin again at each
# of its characters.
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\r\n]*) | (?P<literal>"(?:[^"\\]+|\\.)*"? | \[(?:[^\]\\]+|\\.)*\]?)
    | (?P<line>\r\n?|\n) | (?P<other><[^>\r\n]*>?|[^\#"\[<\r\n]+)""",
    re.VERBOSE | re.DOTALL,
)
_UNIT = re.compile(
    "\\\\.|[\0-\x08\n-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", re.DOTALL
)
_INDENTATION = "\n    "


def indented(grammar: str) -> str:
    """The same rules without comments, with indented lines and without control characters.

    Control characters of a literal are written as escapes of GBNF.

    Raises:
        InvalidArgument: there is a control character that is no part of a text.
    """
    return _INDENTATION.lstrip("\n") + _TOKEN.sub(_replaced, grammar)


def _replaced(found: re.Match[str]) -> str:
    if found["line"] is not None:
        return _INDENTATION
    if found["literal"] is not None:
        return _UNIT.sub(_escaped, found["literal"])
    if found["comment"] is not None:
        return ""
    return _checked(found["other"])


def _escaped(found: re.Match[str]) -> str:
    unit = found[0]
    if len(unit) > 1:
        return _checked(unit)  # an escape, which no control character has
    if unit in "\r\n":
        return {"\r": "\\r", "\n": "\\n"}[unit]
    return f"\\x{ord(unit):02x}" if ord(unit) < 128 else f"\\u{ord(unit):04x}"


def _checked(text: str) -> str:
    for character in text:
        if character in "\r\n" or printable(character) != character:
            raise InvalidArgument(
                f"the grammar has the character {character!r}, which must be in a text or a class "
                "of characters"
            )
    return text
