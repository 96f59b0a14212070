"""Turns messages into tokens with the model's template.

The content of a message cannot act as markup of the template.
"""

from __future__ import annotations

import re
import secrets
import weakref
from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine.request import check_length
from specbranch_cpp._support import checked, logs
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.answers.history import with_thoughts
from specbranch_cpp.openai_api.answers.style import AnswerStyle, style_of
from specbranch_cpp.openai_api.template_fitting import fitted, rendered_text
from specbranch_cpp.openai_api.template_limits import TemplateLimit
from specbranch_cpp.openai_api.templates import CHATML, EFFORT, ChatTemplate
from specbranch_cpp.openai_api.tool_calls.prompts import (
    with_calls_as_text,
    with_text_arguments,
    with_tools_as_text,
)
from specbranch_cpp.openai_api.vocabulary import name_of, piece_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from specbranch_cpp._engine.text_engine import TextEngine

__all__ = ["ChatFormat", "format_of"]

_NAMED = "tokenizer.chat_template.tool_use"

_MARK = r"<[^<>\s]+>|\[/?[A-Z_]+\]"

# Text that may end the model's turn: the name of a control token, not a line break.
_TURN_END = rf"\s*({_MARK})"


class ChatFormat:
    """The compiled templates of one engine.

    Args:
        engine: the engine; the object keeps no reference to it.
    """

    def __init__(self, engine: TextEngine) -> None:
        source = engine.chat_template
        metadata = engine.metadata
        if source is None:
            logs.LOGGER.warning(
                "%s has no chat template; ChatML is used, but the model may not have been "
                "trained with ChatML",
                engine.model_paths[0],
            )
        names = [_token_name(engine, token) for token in (engine.bos_token, engine.eos_token)]
        self._plain = ChatTemplate(source or CHATML, *names)
        self._with_tools = self._plain
        own = source is not None and source == metadata.get("tokenizer.chat_template")
        if own and _NAMED in metadata:
            self._with_tools = ChatTemplate(metadata[_NAMED], *names)
        self._turn_ends: dict[ChatTemplate, list[str]] = {}
        self._turn_marks: dict[ChatTemplate, list[str]] = {}
        self._styles = {each: style_of(engine, each) for each in (self._plain, self._with_tools)}
        self._knows_calls = self._styles[self._with_tools].is_known
        if not self._knows_calls:
            logs.LOGGER.warning(
                "%s has a chat template with tools, but the format of its calls is not known; "
                "chats with tools describe a format in the prompt",
                engine.model_paths[0],
            )

    def template(self, *, has_tools: bool) -> ChatTemplate:
        """The template for a call with or without tools.

        If the format of calls is not known, the tools are text of the plain template.
        """
        return self._with_tools if has_tools and self._knows_calls else self._plain

    def style(self, *, has_tools: bool) -> AnswerStyle:
        """How the model writes its answers to calls with or without tools."""
        return self._styles[self._with_tools if has_tools else self._plain]

    def prompt(
        self,
        engine: TextEngine,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        continued: bool = False,
    ) -> list[int]:
        """The tokens of the messages.

        Names of control tokens in the text of messages, tools and the variable ``documents`` are
        tokenized as plain text. So a user who writes ``<|im_end|>`` does not end the turn. So are
        the marks of turns, which are tokens with a text in some vocabularies.

        Args:
            engine: the engine.
            messages: see `messages.plain_messages`.
            tools: functions that the model may call.
            variables: further variables of the template.
            continued: whether the prompt ends with the text of the last message, which the answer
                then continues. The last message must be text of the assistant.

        Raises:
            InvalidArgument: the template refuses the messages, or does not show the text to
                continue; or the messages or tools are nested too deeply.
            ContextOverflow: the messages cannot fit.
        """
        if continued:
            _check_continued(messages[-1])
        try:
            return self._prompt(engine, messages, tools, variables, continued=continued)
        except RecursionError:
            raise InvalidArgument("messages or tools is nested too deeply") from None

    def _prompt(
        self,
        engine: TextEngine,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any] | None,
        *,
        continued: bool,
    ) -> list[int]:
        documents = (variables or {}).get("documents")
        _check_lengths(engine, messages, tools, documents)
        template = self.template(has_tools=bool(tools))
        messages, tools = self._given(template, messages, tools)
        # Each name is replaced by a mark of private-use characters, which no template changes. The
        # names come back after the text around them was tokenized.
        # The nonce has digits only, because templates may change the case of letters.
        nonce = f"{secrets.randbelow(10**18):018}"
        names: list[str] = []
        turns = self._marks(engine, template)
        given: Any = [messages, tools, documents]
        while found := {n for text in _parts(*given) for n in _names(engine, text, turns)}:
            marks = {name: f"\ue000{nonce}:{len(names) + i}\ue001" for i, name in enumerate(found)}
            names += marks
            given = _hidden(given, marks)
        messages, tools, documents = given
        if documents is not None:
            variables = {**(variables or {}), "documents": documents}
        end = f"\ue000{nonce}\ue001"
        if continued:
            messages = [*messages[:-1], {**messages[-1], "content": messages[-1]["content"] + end}]
            variables = {**(variables or {}), "add_generation_prompt": False}
        written = rendered_text(template, list(messages), tools=tools, variables=variables)
        if continued:
            written, shown, _ = written.rpartition(end)
            if not shown:
                raise InvalidArgument(
                    "continue_final_message is True, but the chat template does not show the text "
                    "of the last message"
                )
        parts = re.split(f"\ue000{nonce}:([0-9]+)\ue001", written)
        return _tokens(
            engine,
            [
                (names[int(part)], False) if index % 2 else (part, True)
                for index, part in enumerate(parts)
            ],
        )

    def refuses_effort(
        self,
        engine: TextEngine,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        continued: bool,
    ) -> bool:
        """Whether the template refuses the messages with an effort, and takes them without it.

        Arguments and errors as in `prompt`; an error that does not come from the effort is none.
        """
        template = self.template(has_tools=bool(tools))
        if not template.reads_effort or EFFORT not in variables:
            return False
        _check_lengths(engine, messages, tools, variables.get("documents"))
        given, shown_tools = self._given(template, messages, tools)
        if continued:
            variables = {**variables, "add_generation_prompt": False}
        without = {name: value for name, value in variables.items() if name != EFFORT}
        return not _is_taken(template, given, shown_tools, variables) and _is_taken(
            template, given, shown_tools, without
        )

    def _given(
        self,
        template: ChatTemplate,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> tuple[Any, Sequence[Mapping[str, Any]] | None]:
        """The messages and the tools that the template gets."""
        messages = with_thoughts(template.source, messages)
        if tools and not self._knows_calls:
            as_text = with_tools_as_text(with_calls_as_text(messages), tools)
            return fitted(template, as_text), None
        return _as_template_wants(template, messages, tools)

    def _marks(self, engine: TextEngine, template: ChatTemplate) -> list[str]:
        if template not in self._turn_marks:
            style = self._styles[template]
            marks = {*_shown_marks(template), *(style.form.inner if style.channels else ())}
            marks -= style.thought_tokens
            self._turn_marks[template] = [
                name for name in sorted(marks) if len(engine.tokenize(name, add_bos=False)) == 1
            ]
        return self._turn_marks[template]

    def stops(self, engine: TextEngine, template: ChatTemplate) -> list[str]:
        """The string that ends a turn, if the model has no end token for it.

        gpt-oss ends every message by the same token, and an answer has several messages.
        """
        if self._styles[template].channels:
            return []
        if template not in self._turn_ends:
            self._turn_ends[template] = _turn_end(engine, template)
        return self._turn_ends[template]


def _check_lengths(engine: TextEngine, messages: Any, tools: Any, documents: Any) -> None:
    """Checks that no text is longer than every prompt may be."""
    for name, value in (("messages", messages), ("tools", tools), ("documents", documents)):
        for text in _texts(value):
            check_length(engine._core, len(checked.encoded(name, text)))


def _is_taken(
    template: ChatTemplate,
    messages: Any,
    tools: Sequence[Mapping[str, Any]] | None,
    variables: Mapping[str, Any],
) -> bool:
    """Whether a template takes messages. One that computes too much is an error all the same."""
    try:
        rendered_text(template, list(messages), tools=tools, variables=variables)
    except TemplateLimit:
        raise
    except InvalidArgument:
        return False
    return True


def _as_template_wants(
    template: ChatTemplate, messages: Any, tools: Sequence[Mapping[str, Any]] | None
) -> tuple[Any, Sequence[Mapping[str, Any]] | None]:
    """The messages with the roles that the template shows.

    If the template does not support tools, the tools are text.
    """
    if not template.reads_tools:
        messages = with_calls_as_text(messages)
        messages = with_tools_as_text(messages, tools) if tools else messages
        return fitted(template, messages), None
    if any("tool_calls" in message for message in messages) and template.wants_text_arguments:
        messages = [with_text_arguments(message) for message in messages]
    return fitted(template, messages), tools or None


def _check_continued(message: Mapping[str, Any]) -> None:
    if message["role"] != "assistant" or "tool_calls" in message:
        raise InvalidArgument(
            "continue_final_message is True; the last message must be text of the assistant"
        )


_formats: weakref.WeakKeyDictionary[TextEngine, ChatFormat] = weakref.WeakKeyDictionary()


def format_of(engine: TextEngine) -> ChatFormat:
    """The chat format of an engine, created at the first chat.

    Raises:
        InvalidArgument: the model's template is not valid Jinja.
    """
    # Without a lock, which a fork or a signal handler would find taken. Two threads may make one.
    known = _formats.get(engine)
    if known is None:
        known = _formats.setdefault(engine, ChatFormat(engine))
    return known


def _tokens(engine: TextEngine, parts: Sequence[tuple[str, bool]]) -> list[int]:
    """The tokens of several texts, with BOS at most once.

    The flag of a text says whether names of control tokens in the text become these tokens.
    """
    check_length(engine._core, sum(len(text.encode()) for text, _ in parts))
    name = _token_name(engine, engine.bos_token)
    text, special = parts[0]
    if name and special and text.lstrip().startswith(name):
        parts = [(text.lstrip(), True), *parts[1:]]  # a template may have blanks before BOS
    tokens = [token for text, special in parts if text for token in _read(engine, text, special)]
    begin = [token for token in engine.tokenize("") if token == engine.bos_token][:1]
    return tokens if tokens[:1] == begin else [*begin, *tokens]


def _read(engine: TextEngine, text: str, special: bool) -> list[int]:
    tokens = engine.tokenize(text, add_bos=False, special=special)
    if special or len(tokens) > 1:
        return tokens
    # A token with a text, such as the marks of gpt-oss in llama.cpp, is found in every text.
    parts = (text[:1], text[1:])
    return [token for part in parts for token in engine.tokenize(part, add_bos=False)]


def _token_name(engine: TextEngine, token: int | None) -> str:
    return "" if token is None else name_of(engine, token).decode(errors="replace")


def _names(engine: TextEngine, text: str, turns: Sequence[str]) -> list[str]:
    """The names of control tokens and the marks of turns in a text."""
    marks = [name for name in turns if name in text]
    read = engine.tokenize(text, add_bos=False, special=True)
    if read == engine.tokenize(text, add_bos=False, special=False):
        return marks
    names = [_token_name(engine, token) for token in {*read} if not piece_of(engine, token)]
    return [*marks, *(name for name in names if name and name in text)]


def _shown_marks(template: ChatTemplate) -> list[str]:
    """What may be marks of turns in the template's text of a short chat."""
    turns = [{"role": role, "content": "?"} for role in ("user", "assistant", "user")]
    try:
        text = template.render(turns, variables={"add_generation_prompt": True})
    except InvalidArgument:
        return []
    return re.findall(_MARK, text)


def _parts(messages: Any, *others: Any) -> list[str]:
    """The texts of messages, and the text of all others, which has the same names as its parts."""
    return [*_texts(messages), "\n".join(_texts(others))]


def _texts(value: Any) -> Iterator[str]:
    """All texts in messages."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _hidden(value: Any, marks: Mapping[str, str]) -> Any:
    """The value with these names replaced, longer names first."""
    if isinstance(value, str):
        for name in sorted(marks, key=len, reverse=True):
            value = value.replace(name, marks[name])
        return value
    if isinstance(value, dict):
        return {_hidden(name, marks): _hidden(item, marks) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hidden(item, marks) for item in value]
    return value


def _turn_end(engine: TextEngine, template: ChatTemplate) -> list[str]:
    """The text after an answer in the template. Empty: this text is an end token of the model."""
    mark = f"\ue000{secrets.token_hex(8)}\ue001"
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}]
    try:
        text = template.render(messages, variables={"add_generation_prompt": False})
    except InvalidArgument:
        return []
    found = re.search(mark + _TURN_END, text)
    if found is None:
        return []
    name = found.group(1)
    tokens = engine.tokenize(name, add_bos=False, special=True)
    return [] if len(tokens) == 1 and engine.is_end_token(tokens[0]) else [name]
