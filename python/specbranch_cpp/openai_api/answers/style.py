"""How the model of a chat template writes its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.answers.constraints import AnswerShape
from specbranch_cpp.openai_api.answers.tagged import AnswerRules
from specbranch_cpp.openai_api.answers.thoughts import THINK, ThoughtMarks, marks_in, opened_by
from specbranch_cpp.openai_api.tool_calls.choice import (
    DESCRIBED,
    format_of_template,
    is_harmony,
)
from specbranch_cpp.openai_api.vocabulary import name_of, piece_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp.openai_api.templates import ChatTemplate
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.tool_format import ToolFormat

__all__ = ["AnswerStyle", "Opening", "style_of", "style_of_template"]


@dataclass(frozen=True)
class Opening:
    """What the end of a prompt says about the answer.

    Attributes:
        thought: the marks of the thought that the prompt has begun. ``None``: it has begun none.
        has_thought: whether the prompt contains the thought already, because thinking is off.
        text: the begin of a call that the prompt contains.
    """

    thought: ThoughtMarks | None
    has_thought: bool
    text: str


@dataclass(frozen=True)
class AnswerStyle:
    """How a model writes calls and thoughts.

    Attributes:
        form: the format of tool calls. If the template does not support tools, or in an unknown
            format, the prompt describes this format.
        is_known: False if the template supports tools in an unknown format.
        thought: the marks of thoughts. ``None``: the template mentions none.
        channels: whether the answer has the channels of gpt-oss.
    """

    form: ToolFormat
    is_known: bool
    thought: ThoughtMarks | None
    channels: bool

    @property
    def tool_format(self) -> str | None:
        """The name of the format of tool calls. ``None``: it is not known."""
        return self.form.name if self.is_known else None

    @property
    def reasoning(self) -> str | None:
        """The begin of a thought, or ``analysis``. ``None``: none is known."""
        if self.channels:
            return "analysis"
        return None if self.thought is None else self.thought.begin

    @property
    def thought_tokens(self) -> set[str]:
        """Names of the control tokens that marks of thoughts may be."""
        return THINK.tokens | (set() if self.thought is None else self.thought.tokens)

    def opening(self, engine: TextEngine, prompt: list[int]) -> Opening:
        """What the end of a prompt says about the answer."""
        text = engine.detokenize(prompt[-_TAIL:], special=True)
        closed = (self.thought or THINK).end
        prompted = self.form.prompted
        return Opening(
            None if self.channels else opened_by(text),
            text.rstrip().endswith(closed),
            prompted if prompted and text.endswith(prompted) else "",
        )

    def rules(self, tools: Tools, opening: Opening) -> AnswerRules:
        """How to read the answer."""
        return AnswerRules(
            self.form if tools.given else None,
            tools.functions,
            tools.many,
            self.thought,
            opening.thought,
        )

    def shape(self, opening: Opening, *, is_free: bool) -> AnswerShape:
        """What comes before calls or JSON. A free text may begin with an unexpected thought."""
        if self.channels:
            return AnswerShape(channels=True)
        if opening.thought is not None:
            return AnswerShape(opening.thought, is_open=True)
        thought = self.thought or (THINK if is_free else None)
        return AnswerShape(None if opening.has_thought else thought)

    def marks(self, engine: TextEngine, *, has_tools: bool) -> dict[int, str]:
        """Tokens without text that mean something in the answer, and their names."""
        form = self.form
        names = self.thought_tokens
        if has_tools or self.channels:
            names |= {*form.marks, *form.plain, *form.inner, *form.hidden}
        return {
            token: name
            for name in names
            if (token := control_token(engine, name)) is not None and not piece_of(engine, token)
        }


_TAIL = 32  # tokens at the end of a prompt; more than the marks of a thought have


def style_of(engine: TextEngine, template: ChatTemplate) -> AnswerStyle:
    """How the model of an engine writes its answers with a template."""
    return style_of_template(template, lambda name: control_token(engine, name) is not None)


def style_of_template(template: ChatTemplate, has_token: Callable[[str], bool]) -> AnswerStyle:
    """How the model of a template writes its answers.

    Args:
        template: the template.
        has_token: whether the vocabulary has a control token with a name.
    """
    form = format_of_template(template, has_token)
    return AnswerStyle(
        DESCRIBED() if form is None else form,
        form is not None,
        marks_in(template.source),
        is_harmony(template.source, has_token),
    )


def control_token(engine: TextEngine, name: str) -> int | None:
    """The token with this name. ``None``: the vocabulary has none."""
    tokens = engine.tokenize(name, add_bos=False, special=True)
    if len(tokens) != 1 or name_of(engine, tokens[0]) != name.encode():
        return None
    return tokens[0]
