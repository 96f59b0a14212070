"""Turns the keywords of a chat into a request for the engine and rules for reading its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.keywords import (
    ChatKeywords,
    check_supported,
    gbnf_of,
    max_tokens_of,
    text_request,
)
from specbranch_cpp.openai_api.logprobs import n_of_chat
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.openai_api.prompts import format_of
from specbranch_cpp.openai_api.response_format import grammar_of_format
from specbranch_cpp.openai_api.tool_calls.declarations import Tools, tools_of
from specbranch_cpp.openai_api.tool_calls.formats import FormatHermes, format_of_template
from specbranch_cpp.openai_api.vocabulary import piece_of

if TYPE_CHECKING:
    from specbranch_cpp._engine.request import TextRequest
    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp.openai_api.tool_calls.formats import ToolFormat

__all__ = ["ChatRequest", "chat_request", "rendered"]


@dataclass(frozen=True)
class ChatRequest:
    """A checked chat.

    Attributes:
        asked: the request for the engine.
        tools: the functions that the model may call.
        form: the format of tool calls.
        marks: tokens without text that begin a call, and their names.
    """

    asked: TextRequest
    tools: Tools
    form: ToolFormat
    marks: dict[int, str]


def chat_request(engine: TextEngine, given: ChatKeywords) -> ChatRequest:
    """Checks the keywords of `Engine.create_chat_completion`.

    Raises:
        InvalidArgument: a keyword is not supported. The message names the keyword and the reason.
    """
    check_supported(given)
    max_tokens = _max_tokens(given)
    gbnf = gbnf_of(given.grammar)
    logprobs = n_of_chat(given.logprobs, given.top_logprobs)
    tools = tools_of(given)
    prompt, stops = rendered(engine, given.messages, given.chat_template_kwargs, [*tools.given])
    template = format_of(engine).template(has_tools=bool(tools.given))
    form = format_of_template(template.source) if template.reads_tools else FormatHermes()
    asked = text_request(
        given,
        prompt,
        max_tokens=max_tokens,
        logprobs=logprobs,
        grammar=_grammar(gbnf, given.response_format, tools, form),
        stop=joined_stops(given.stop, stops),
    )
    marks = _marks(engine, form) if tools.given else {}
    return ChatRequest(asked, tools, form, marks)


def _max_tokens(given: ChatKeywords) -> int | None:
    if given.max_completion_tokens is None:
        return max_tokens_of("max_tokens", given.max_tokens)
    if given.max_tokens is not None:
        raise InvalidArgument(
            "max_tokens and max_completion_tokens are given; give only one of them"
        )
    return max_tokens_of("max_completion_tokens", given.max_completion_tokens)


def rendered(
    engine: TextEngine, messages: Any, variables: Any, tools: list[Mapping[str, Any]] | None = None
) -> tuple[list[int], list[str]]:
    """The tokens of the prompt, and the strings that end the answer in addition to end tokens."""
    _check_variables(variables)
    form = format_of(engine)
    prompt = form.prompt(engine, plain_messages(messages), tools=tools, variables=variables)
    return prompt, form.stops(engine, form.template(has_tools=bool(tools)))


def _check_variables(variables: Any) -> None:
    if variables is None:
        return
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise InvalidArgument(
            f"chat_template_kwargs is {variables!r}; it must be a mapping or None"
        )
    for name in ("messages", "tools"):
        if name in variables:
            raise InvalidArgument(
                f"chat_template_kwargs has {name!r}; use the keyword of that name instead"
            )


def joined_stops(stop: Any, more: list[str]) -> list[str]:
    """Stop strings of the caller and of the template."""
    return [*(one.decode() for one in checked.stop_strings(stop)), *more]


def _grammar(
    grammar: str | None, response_format: Any, tools: Tools, form: ToolFormat
) -> str | None:
    of_format = grammar_of_format(response_format)
    if grammar is not None and of_format is not None:
        raise InvalidArgument("grammar and response_format are given; give only one of them")
    ruled = of_format if grammar is None else grammar
    if ruled is not None and tools.given:
        name = "grammar" if of_format is None else "response_format"
        raise InvalidArgument(
            f"{name} and tools are given; a text under a grammar cannot contain calls: give no "
            "tools, or tool_choice='none'"
        )
    return form.grammar(tools) if tools.forced else ruled


def _marks(engine: TextEngine, form: ToolFormat) -> dict[int, str]:
    marks = {}
    for name in (*form.markers, *form.inner):
        tokens = engine.tokenize(name, add_bos=False, special=True)
        if len(tokens) == 1 and not piece_of(engine, tokens[0]):
            marks[tokens[0]] = name
    return marks
