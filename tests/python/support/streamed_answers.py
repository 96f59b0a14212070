"""Answers that come in pieces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from specbranch_cpp.openai_api.answers.collected import AnswerDeltas, CollectedAnswer
from specbranch_cpp.openai_api.answers.parser import AnswerParser
from specbranch_cpp.openai_api.tool_calls import incoming_text
from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from specbranch_cpp.openai_api.answers.tagged import AnswerRules


def in_pieces(text: str, size: int) -> list[str]:
    """The text in pieces of ``size`` characters."""
    return [text[begin : begin + size] for begin in range(0, len(text), size)]


def read_in_pieces(
    rules: AnswerRules, text: str, size: int
) -> tuple[str, str, list[tuple[str, Any]]]:
    """Thought, content and calls of an answer. The pieces of a stream must make the same message.

    Args:
        rules: of the answer.
        text: the whole answer.
        size: characters of each piece.
    """
    parser = AnswerParser(rules)
    whole, written = CollectedAnswer(), AnswerDeltas(deprecated=False)
    deltas: list[Any] = []
    fed = [parser.feed(piece) for piece in in_pieces(text, size)]
    for parts in [*fed, parser.finish()]:
        whole.add(parts)
        deltas += written.deltas(parts)
    message = whole.message(deprecated=False)
    thought, content = message.get("reasoning_content", ""), message["content"] or ""
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == thought
    assert "".join(delta.get("content") or "" for delta in deltas) == content
    calls = [call["function"] for call in message.get("tool_calls", ())]
    streamed = [call["function"] for delta in deltas for call in delta.get("tool_calls", ())]
    assert [one["name"] for one in streamed if "name" in one] == [one["name"] for one in calls]
    assert "".join(one["arguments"] for one in streamed) == "".join(
        one["arguments"] for one in calls
    )
    return thought, content, [(one["name"], json.loads(one["arguments"])) for one in calls]


class Searches:
    """Counts the characters in which readers search for marks, or check names.

    A character counts each time. `IncomingText.n_scanned` has those in which the end of a value was
    searched. Clocks say less about the cost of a reader.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_searched = 0
        first, check = IncomingText._first, incoming_text._check_name

        def counted_first(
            source: IncomingText, marks: Sequence[str], begin: int
        ) -> tuple[int, str]:
            found = first(source, marks, begin)
            self.n_searched += found[0] + len(found[1]) - begin
            return found

        def counted_check(within: str, name: str) -> None:
            self.n_searched += len(name)
            check(within, name)

        monkeypatch.setattr(IncomingText, "_first", counted_first)
        monkeypatch.setattr(incoming_text, "_check_name", counted_check)
