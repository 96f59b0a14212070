"""The marks between which models think."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["THINK", "ThoughtMarks", "marks_in", "opened_by"]


@dataclass(frozen=True)
class ThoughtMarks:
    """The marks of a thought at the beginning of an answer.

    Attributes:
        begin: the mark before it.
        end: the mark after it.
        token: the control token in ``begin``; empty: the whole of ``begin`` may be one.
    """

    begin: str
    end: str
    token: str = ""

    @property
    def tokens(self) -> set[str]:
        """Names of the control tokens that the marks may be."""
        return {self.token or self.begin, self.end}


THINK = ThoughtMarks("<think>", "</think>")
"""The marks of most models. Fine-tuned models write them, too, if their template has none."""

_KNOWN = (
    THINK,
    ThoughtMarks("[THINK]", "[/THINK]"),
    ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>"),
    ThoughtMarks("<seed:think>", "</seed:think>"),
    ThoughtMarks("◁think▷", "◁/think▷"),
    ThoughtMarks("<|channel>thought", "<channel|>", "<|channel>"),  # Gemma 4
)


def marks_in(source: str) -> ThoughtMarks | None:
    """The marks that a template mentions. ``None``: it mentions none."""
    return next((m for m in _KNOWN if m.begin in source or m.end in source), None)


def opened_by(prompt: str) -> ThoughtMarks | None:
    """The marks of the thought with whose beginning a prompt ends. ``None``: with no thought."""
    text = prompt.rstrip()
    return next((m for m in _KNOWN if text.endswith(m.begin)), None)
