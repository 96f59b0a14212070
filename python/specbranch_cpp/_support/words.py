"""Words for numbers, errors and names of files."""

from __future__ import annotations

import math
import re

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def readable(n_bytes: int) -> str:
    """A number of bytes, such as ``12.3 MiB``."""
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    power = min(int(math.log2(n_bytes)) // 10, len(_UNITS))
    number = n_bytes / 1024**power
    return f"{number:.{0 if number >= 100 else 1}f} {_UNITS[power - 1]}"


def message(error: BaseException) -> str:
    """The message of an error, without the name of the method that raised it."""
    return re.sub(r"^\[[\w:]+\] ", "", str(error))


def in_unicode(name: str) -> str:
    """A name of a file for a reply in UTF-8. Bytes of it that are no text become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", name)


def one_line(text: str) -> str:
    """A name of a file, or other text, with escapes for characters that a line must not have.

    Bytes of a name that are no text become ``\\xff`` and the like.
    """
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python reads a byte of a name that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def count(number: float) -> str:
    """A large number, such as ``7.3 million``."""
    for size, unit in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,.0f}"


def several(n: int, thing: str) -> str:
    """A number and its noun, such as ``1 text`` and ``2 texts``."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"
