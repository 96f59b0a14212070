"""Turns the keywords of a chat into a request for the engine and rules for reading its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._grammar.json_schema import grammar_of
from specbranch_cpp._grammar.rules import either
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.keywords import (
    ChatKeywords,
    check_supported,
    max_tokens_of,
    text_request,
)
from specbranch_cpp.openai_api.logprobs import n_of_chat
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.openai_api.prompts import format_of
from specbranch_cpp.openai_api.response_format import chosen_grammar
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
    logprobs = n_of_chat(given.logprobs, given.top_logprobs)
    tools = tools_of(given)
    prompt, stops = rendered(
        engine,
        given.messages,
        _variables(given),
        [*tools.given],
        continued=checked.flag("continue_final_message", given.continue_final_message),
    )
    template = format_of(engine).template(has_tools=bool(tools.given))
    form = format_of_template(template.source) if template.reads_tools else FormatHermes()
    asked = text_request(
        engine,
        given,
        prompt,
        max_tokens=max_tokens,
        logprobs=logprobs,
        grammar=_grammar(given, tools, form),
        stop=joined_stops(given.stop, stops),
    )
    marks = _marks(engine, form) if tools.given else {}
    return ChatRequest(asked, tools, form, marks)


def _max_tokens(given: ChatKeywords) -> int | None:
    """The smaller limit of the two names. ``None``: until the context is full."""
    limits = [
        max_tokens_of("max_tokens", given.max_tokens),
        max_tokens_of("max_completion_tokens", given.max_completion_tokens),
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def _variables(given: ChatKeywords) -> Mapping[str, Any] | None:
    """The variables of the template."""
    wanted = given.add_generation_prompt
    if wanted is None:
        return given.chat_template_kwargs
    checked.flag("add_generation_prompt", wanted)
    if wanted and given.continue_final_message is True:
        raise InvalidArgument(
            "add_generation_prompt and continue_final_message are True; give only one of them, "
            "because the answer either begins a message or continues the last message"
        )
    _check_variables(given.chat_template_kwargs)
    return {**(given.chat_template_kwargs or {}), "add_generation_prompt": wanted}


def rendered(
    engine: TextEngine,
    messages: Any,
    variables: Any,
    tools: list[Mapping[str, Any]] | None = None,
    *,
    continued: bool = False,
) -> tuple[list[int], list[str]]:
    """The tokens of the prompt, and the strings that end the answer in addition to end tokens."""
    _check_variables(variables)
    form = format_of(engine)
    plain = plain_messages(messages)
    if plain[-1]["role"] == "assistant":  # the fields of other interfaces
        continued = continued or any(plain[-1].get(name) is True for name in ("prefix", "partial"))
    prompt = form.prompt(engine, plain, tools=tools, variables=variables, continued=continued)
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


def _grammar(given: ChatKeywords, tools: Tools, form: ToolFormat) -> str | None:
    """The grammar of the answer.

    A forced call follows the schemas of the functions, whatever the ``response_format`` is. With a
    free choice and a ``response_format``, the answer is a call or JSON of this format.
    """
    if given.grammar is not None and tools.given:
        raise InvalidArgument(
            "grammar and tools are given; a text under a grammar cannot contain calls: give no "
            "tools, or tool_choice='none'"
        )
    ruled = chosen_grammar(given.grammar, given.response_format)
    if tools.forced:
        return form.grammar(tools)
    if ruled is None or not tools.given:
        return ruled
    return either([form.grammar(_free(tools)), ruled])


def _free(tools: Tools) -> Tools:
    """The same tools for a free choice: any object stands for a schema without a grammar."""
    given = []
    for tool in tools.given:
        function = tool["function"]
        try:
            if function.get("parameters"):
                grammar_of(function["parameters"], f"the schema of {function['name']!r}")
        except InvalidArgument:
            function = {**function, "parameters": {"type": "object"}}
        given.append({**tool, "function": {**function, "strict": False}})
    return Tools(tuple(given), tuple(tools.functions), tools.many, tools.deprecated)


def _marks(engine: TextEngine, form: ToolFormat) -> dict[int, str]:
    marks = {}
    for name in (*form.markers, *form.inner):
        tokens = engine.tokenize(name, add_bos=False, special=True)
        if len(tokens) == 1 and not piece_of(engine, tokens[0]):
            marks[tokens[0]] = name
    return marks
