"""Thoughts of earlier answers, under the name that a template reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["with_thoughts"]

_READS_THINKING = re.compile(r"""\.thinking\b|\[["']thinking["']\]""")


def with_thoughts(source: str, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with ``reasoning_content`` also as ``thinking``, if only that is read.

    The template of gpt-oss does so. It refuses thoughts beside content in a message with calls.
    """
    if "reasoning_content" in source or not _READS_THINKING.search(source):
        return [*messages]
    return [_renamed(message) for message in messages]


def _renamed(message: dict[str, Any]) -> dict[str, Any]:
    thought = message.get("reasoning_content")
    both = message.get("tool_calls") and message.get("content")
    if not isinstance(thought, str) or "thinking" in message or both:
        return message
    return {**message, "thinking": thought}
