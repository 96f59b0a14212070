"""Turns the keywords of a chat into a request for the engine and rules for reading its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.grammars import JsonSchema
from specbranch_cpp.openai_api.answers.constraints import (
    calls_or_ruled_text,
    forced_calls,
    free_text,
    ruled_text,
)
from specbranch_cpp.openai_api.keywords import (
    ChatKeywords,
    PromptKeywords,
    check_supported,
    max_tokens_of,
    text_request,
)
from specbranch_cpp.openai_api.logprobs import n_of_chat
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.openai_api.prompts import format_of
from specbranch_cpp.openai_api.response_format import chosen_grammar
from specbranch_cpp.openai_api.tool_calls.declarations import Tools, tools_of

if TYPE_CHECKING:
    from specbranch_cpp._engine.request import TextRequest
    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp._grammar.books import Grammar
    from specbranch_cpp.openai_api.answers.style import AnswerStyle, Opening
    from specbranch_cpp.openai_api.answers.tagged import AnswerRules

__all__ = ["ChatRequest", "chat_prompt", "chat_request", "refuses_effort", "rendered"]


@dataclass(frozen=True)
class ChatRequest:
    """A checked chat.

    Attributes:
        asked: the request for the engine.
        tools: the functions that the model may call.
        rules: how to read the answer.
        channels: whether the answer has the channels of gpt-oss.
        marks: tokens without text that mean something in the answer, and their names.
        begun: the begin of the answer that is in the prompt.
    """

    asked: TextRequest
    tools: Tools
    rules: AnswerRules
    channels: bool
    marks: dict[int, str]
    begun: str


def chat_request(engine: TextEngine, given: ChatKeywords) -> ChatRequest:
    """Checks the keywords of `Engine.create_chat_completion`.

    Raises:
        InvalidArgument: a keyword is not supported. The message names the keyword and the reason.
    """
    check_supported(given)
    max_tokens = _max_tokens(given)
    logprobs = n_of_chat(given.logprobs, given.top_logprobs)
    if checked.flag("content_logprobs", given.content_logprobs) and logprobs is None:
        raise InvalidArgument("content_logprobs is True; it needs logprobs=True")
    tools, prompt, stops = chat_prompt(engine, given)
    style = format_of(engine).style(has_tools=bool(tools.given))
    opening = style.opening(engine, prompt)
    asked = text_request(
        engine,
        given,
        prompt,
        max_tokens=max_tokens,
        logprobs=logprobs,
        grammar=_grammar(given, tools, style, opening),
        stop=joined_stops(given.stop, stops),
    )
    return ChatRequest(
        asked,
        tools,
        style.rules(tools, opening),
        style.channels,
        style.marks(engine, has_tools=bool(tools.given)),
        opening.text,
    )


def chat_prompt(engine: TextEngine, given: PromptKeywords) -> tuple[Tools, list[int], list[str]]:
    """The tools of a chat, the tokens of its prompt, and the strings that end its answer, too.

    Raises:
        InvalidArgument: a keyword is wrong, or the template refuses the messages.
    """
    tools = tools_of(given)
    continued = checked.flag("continue_final_message", given.continue_final_message)
    prompt, stops = rendered(
        engine, given.messages, _variables(given), [*tools.given], continued=continued
    )
    return tools, prompt, stops


def refuses_effort(engine: TextEngine, given: PromptKeywords) -> bool:
    """Whether the template refuses a chat with the effort of ``chat_template_kwargs`` only.

    Raises:
        InvalidArgument: see `chat_prompt`. An error of the template alone is not raised.
    """
    tools = tools_of(given)
    wanted = checked.flag("continue_final_message", given.continue_final_message)
    variables = _variables(given)
    _check_variables(variables)
    plain = plain_messages(given.messages)
    try:
        return format_of(engine).refuses_effort(
            engine,
            plain,
            tools=[*tools.given],
            variables=variables or {},
            continued=_continues(plain, wanted),
        )
    except RecursionError:  # `chat_prompt` names it
        return False


def _max_tokens(given: ChatKeywords) -> int | None:
    """The smaller limit of the two names. ``None``: until the context is full."""
    limits = [
        max_tokens_of("max_tokens", given.max_tokens),
        max_tokens_of("max_completion_tokens", given.max_completion_tokens),
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def _variables(given: PromptKeywords) -> Mapping[str, Any] | None:
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
    continued = _continues(plain, continued)
    prompt = form.prompt(engine, plain, tools=tools, variables=variables, continued=continued)
    return prompt, form.stops(engine, form.template(has_tools=bool(tools)))


def _continues(messages: Sequence[Mapping[str, Any]], wanted: bool) -> bool:
    """Whether the answer continues the last message, also by the fields of other interfaces."""
    last = messages[-1]
    named = any(last.get(name) is True for name in ("prefix", "partial"))
    return wanted or (last["role"] == "assistant" and named)


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
    given: ChatKeywords, tools: Tools, style: AnswerStyle, opening: Opening
) -> Grammar | None:
    """The grammar of the answer. JSON and forced calls come after a thought.

    A forced call follows the schemas of the functions, whatever the ``response_format`` is. With a
    free choice and a ``response_format``, the answer has calls or is JSON of this format. The
    caller's own grammar stays as it is, because it may describe a thought itself.
    """
    if given.grammar is not None and tools.given:
        raise InvalidArgument(
            "grammar and tools are given; a text under a grammar cannot contain calls: give no "
            "tools, or tool_choice='none'"
        )
    own = chosen_grammar(given.grammar, given.response_format)
    of_format = own if given.grammar is None and isinstance(own, JsonSchema) else None
    shape = style.shape(opening, is_free=of_format is None and not tools.forced)
    if tools.forced:
        return forced_calls(tools, style.form, shape)
    if tools.given:
        if of_format is None:
            return free_text(tools, style.form, shape)
        return calls_or_ruled_text(tools, style.form, of_format, shape)
    return own if of_format is None else ruled_text(of_format, shape)
