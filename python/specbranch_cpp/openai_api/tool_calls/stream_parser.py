"""Finds tool calls in a streamed text."""

from __future__ import annotations

import json
import secrets
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from specbranch_cpp.openai_api.tool_calls.formats import ToolFormat
    from specbranch_cpp.openai_api.types import ToolCallDelta

__all__ = ["ToolParser"]

_ID_LETTERS = string.ascii_letters + string.digits


class ToolParser:
    """Divides a text into content and calls.

    The parser holds back content where a marker may begin, and returns a call when it is complete.
    Text that looks like a call but is not valid (broken JSON, an unknown function) stays content.
    White space around calls is removed.

    Args:
        form: the format of tool calls.
        names: the names of the functions.
        many: if False, text after the first call is removed.
    """

    def __init__(self, form: ToolFormat, names: Collection[str], *, many: bool) -> None:
        self._form = form
        self._names = names
        self._many = many
        self._text = ""
        self._started = False  # whether text that is not white space has come
        self.n_calls = 0

    def feed(self, text: str) -> Iterator[str | ToolCallDelta]:
        """The content or the calls that are complete after the next piece."""
        self._text += text
        yield from self._go(final=False)

    def finish(self) -> Iterator[str | ToolCallDelta]:
        """The rest of the content and of the calls, at the end of the text."""
        yield from self._go(final=True)

    def _go(self, *, final: bool) -> Iterator[str | ToolCallDelta]:
        while not self._is_full:
            if (begin := self._marker()) is None:
                yield from self._content(len(self._text) if final else self._certain())
                return
            if before := len(self._text[:begin].rstrip()):
                yield from self._content(before)
                continue
            reading = self._form.read(self._text[begin:], final=final)
            if reading.end == 0 and not final:
                return
            if reading.calls and all(name in self._names for name, _ in reading.calls):
                self._text = self._text[begin + reading.end :]
                for name, arguments in reading.calls[: None if self._many else 1]:
                    yield self._made(name, arguments)
            else:
                yield from self._content(begin + 1)  # the marker does not begin a call

    @property
    def _is_full(self) -> bool:
        return self.n_calls > 0 and not self._many

    def _content(self, length: int) -> Iterator[str]:
        """Takes the first characters as content, without white space after a call."""
        text, self._text = self._text[:length], self._text[length:]
        if text.strip():
            self._started = True
        elif self.n_calls:
            return
        if text:
            yield text

    def _marker(self) -> int | None:
        """The index at which a marker begins."""
        found = [index for marker in self._form.markers if (index := self._text.find(marker)) >= 0]
        if not found:
            return None
        if self._form.at_start and (self._started or self._text[: min(found)].strip()):
            return None
        return min(found)

    def _certain(self) -> int:
        """The length of the certain content, without white space or a half marker at the end."""
        if self._form.at_start and (self._started or self._text.strip()):
            begun = self._text.strip()
            if self._started or not any(m.startswith(begun) for m in self._form.markers):
                return len(self._text)
        length = len(self._text)
        for marker in self._form.markers:
            for size in range(min(len(marker) - 1, len(self._text)), 0, -1):
                if self._text.endswith(marker[:size]):
                    length = min(length, len(self._text) - size)
                    break
        return len(self._text[:length].rstrip())

    def _made(self, name: str, arguments: Any) -> ToolCallDelta:
        self.n_calls += 1
        return {
            "index": self.n_calls - 1,
            # Some templates of Mistral accept an id of nine letters only.
            "id": "".join(secrets.choice(_ID_LETTERS) for _ in range(9)),
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
        }
