"""Answers that come in pieces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from specbranch_cpp.openai_api.answers.collected import AnswerDeltas, CollectedAnswer
from specbranch_cpp.openai_api.answers.parser import AnswerParser

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.answers.tagged import AnswerRules


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
    whole, written, deltas = CollectedAnswer(), AnswerDeltas(deprecated=False), []
    pieces = [parser.feed(text[begin : begin + size]) for begin in range(0, len(text), size)]
    for parts in [*pieces, parser.finish()]:
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
