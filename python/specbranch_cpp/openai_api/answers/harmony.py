"""Reads the answers of gpt-oss: messages in channels.

    <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...

Thoughts are in ``analysis``. A call is a message to ``functions.NAME``. Every other message is
content.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.answers.parts import Text, Thought
from specbranch_cpp.openai_api.answers.tagged import TaggedReader
from specbranch_cpp.openai_api.tool_calls.formats.harmony import (
    CHANNEL,
    ENDS,
    MESSAGE,
    START,
    FormatHarmony,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from specbranch_cpp.openai_api.answers.parts import Part, PartReader

__all__ = ["HarmonyReader"]

_CHANNEL = re.compile(r"<\|channel\|>\s*([a-zA-Z_]+)")
_CALLED = re.compile(r"to=functions\.([^\s<]+)")
_BEGINS = (CHANNEL, MESSAGE, START, "assistant", "to=")
_LONGEST_HEADER = 400
_BETWEEN = "\n\n"


class HarmonyReader(TaggedReader):
    """Reads one message after the other."""

    def parts(self) -> PartReader:
        self._n_texts = self._n_thoughts = 0
        while not self._is_full:
            header = yield from self._header()
            if header is None:
                return
            called = _CALLED.search(header)
            if called is not None and called.group(1) in self._rules.functions:
                yield from self._call(called.group(1))
            else:
                channel = _CHANNEL.search(header)
                is_thought = channel is not None and channel.group(1) == "analysis"
                yield from self._message(Thought if is_thought else Text)
        yield from self._drop_rest()

    def _header(self) -> Generator[Part | None, None, str | None]:
        """The header of the next message; empty: none. ``None``: the text is complete."""
        source = self._source
        yield from source.space()
        if source.complete and source.at == len(source.text):
            return None
        begin = source.at
        while (end := source.text.find(MESSAGE, begin)) < 0:
            if not _may_be_header(source.text[begin:]):
                return ""
            if source.complete:
                if not source.text.startswith("<|", begin):
                    return ""
                source.at = len(source.text)  # a cut header
                return None
            yield None
        if not _is_header(source.text[begin:end]):
            return ""
        source.at = end + len(MESSAGE)
        return source.text[begin:end]

    def _message(self, kind: type[Text | Thought]) -> PartReader:
        """The text of a message, after an empty line if another message is before it."""
        n_before = self._n_texts if kind is Text else self._n_thoughts
        begun = False
        reader = self._flow((*ENDS, START), kind, trims=True)
        while True:
            try:
                part = next(reader)
            except StopIteration as end:
                if end.value is None and begun and kind is Text:
                    yield self._piece(Text, self._source.held)
                break
            if part is not None and not begun:
                begun = True
                if n_before:
                    yield kind(_BETWEEN)
            yield part
        if kind is Text:
            self._n_texts += begun
        else:
            self._n_thoughts += begun

    def _call(self, name: str) -> PartReader:
        source = self._source
        reader = FormatHarmony().read_message(source, name)
        before, begin = self._n_calls, source.at
        whole = yield from self._calls(reader, begin)
        if not whole and self._n_calls == before:
            source.at = begin
            yield from self._message(Text)


def _is_header(text: str) -> bool:
    """Whether the text before the mark of a message is its header. Other text is content."""
    return not text or (text.startswith(_BEGINS) and len(text) <= _LONGEST_HEADER)


def _may_be_header(text: str) -> bool:
    """Whether a header and its mark may begin with the text."""
    known = any(begin.startswith(text[: len(begin)]) for begin in _BEGINS)
    return known and len(text) <= _LONGEST_HEADER + len(MESSAGE)
