"""Finds calls of functions in a text that comes in pieces."""

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

    Content flows until a marker may begin; a call comes when it is complete. What looks like a
    call and is none (broken JSON, an unknown function) stays content. White space beside calls is
    left out.

    Args:
        form: how the model writes calls.
        names: of the functions.
        many: False: what follows the first call is left out.
    """

    def __init__(self, form: ToolFormat, names: Collection[str], *, many: bool) -> None:
        self._form = form
        self._names = names
        self._many = many
        self._text = ""
        self._started = False  # something but white space was there
        self.n_calls = 0

    def feed(self, text: str) -> Iterator[str | ToolCallDelta]:
        """What the next piece makes certain: content or calls."""
        self._text += text
        yield from self._go(final=False)

    def finish(self) -> Iterator[str | ToolCallDelta]:
        """The rest."""
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
                yield from self._content(begin + 1)  # the marker is none

    @property
    def _is_full(self) -> bool:
        return self.n_calls > 0 and not self._many

    def _content(self, length: int) -> Iterator[str]:
        """The first characters; white space after a call is none."""
        text, self._text = self._text[:length], self._text[length:]
        if text.strip():
            self._started = True
        elif self.n_calls:
            return
        if text:
            yield text

    def _marker(self) -> int | None:
        """Where one begins."""
        found = [index for marker in self._form.markers if (index := self._text.find(marker)) >= 0]
        if not found:
            return None
        if self._form.at_start and (self._started or self._text[: min(found)].strip()):
            return None
        return min(found)

    def _certain(self) -> int:
        """How much of the text is content for sure: no white space at its end, no half marker."""
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
            # Nine letters: some templates of Mistral accept nothing else.
            "id": "".join(secrets.choice(_ID_LETTERS) for _ in range(9)),
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
        }
