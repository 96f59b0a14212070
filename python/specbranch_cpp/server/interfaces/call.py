"""What the interfaces share: a checked call of the engine, and the form of its reply."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from specbranch_cpp.openai_api.chat_requests import chat_prompt, refuses_effort
from specbranch_cpp.openai_api.keywords import PromptKeywords
from specbranch_cpp.openai_api.templates import EFFORT
from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.fields import Items, whole_number, without_nulls
from specbranch_cpp.server.other_names import effort_field
from specbranch_cpp.server.other_tools import with_served_tools
from specbranch_cpp.server.requests import ChatBody, CompletionBody, check_fields
from specbranch_cpp.server.streams import StreamForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specbranch_cpp.engine import Engine

__all__ = [
    "Body", "InterfaceCall", "Items", "ReplyForm", "Size", "call_of", "checked_call",
    "n_prompt_tokens", "prompt_of", "set_field", "text_field", "without_refused_effort",
]  # fmt: skip


Size = Annotated[int, BeforeValidator(whole_number), Field(ge=-2, le=2**31 - 1)]


class Body(BaseModel):
    """A body with strict types. Fields that are not named stay in ``model_extra``."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, data: Any) -> Any:
        return without_nulls(cls, data)


class ReplyForm(StreamForm):
    """Writes one reply of the engine, or the chunks of one stream, as another server would."""

    def whole(self, reply: dict[str, Any]) -> dict[str, Any]:
        """The reply in one piece."""
        return reply


@dataclass(frozen=True)
class InterfaceCall:
    """A request of another interface.

    Attributes:
        chat: whether it is a chat.
        arguments: the keyword arguments of the engine's call.
        form: writes the reply.
        unknown: names of fields that had no effect.
        effort: the client's name of the field that says how much the model is to think. ``None``:
            the body has none, or addresses the template itself (``chat_template_kwargs``).
    """

    chat: bool
    arguments: dict[str, Any]
    form: ReplyForm
    unknown: list[str]
    effort: str | None = None


def n_prompt_tokens(timings: Mapping[str, Any]) -> int:
    """Tokens of the prompt, computed or cached, from the timings of a reply."""
    return int(timings["prompt_n"] + timings["cache_n"])


def prompt_of(engine: Engine, call: InterfaceCall) -> list[int]:
    """The tokens of the prompt of a chat.

    Raises:
        InvalidArgument: a message or a tool is wrong.
    """
    _, prompt, _ = chat_prompt(engine, _keywords(without_refused_effort(engine, call)))
    return prompt


def without_refused_effort(engine: Engine, call: InterfaceCall) -> InterfaceCall:
    """The call without an effort that the template refuses. The field is then named as unknown.

    Clients send efforts of their own models, and many templates know a few efforts only.

    Raises:
        InvalidArgument: a message or a tool is wrong.
    """
    if call.effort is None or not refuses_effort(engine, _keywords(call)):
        return call
    variables = {**call.arguments["chat_template_kwargs"]}
    del variables[EFFORT]
    arguments = {**call.arguments, "chat_template_kwargs": variables}
    return replace(call, arguments=arguments, unknown=[*call.unknown, call.effort], effort=None)


def _keywords(call: InterfaceCall) -> PromptKeywords:
    names = {field.name for field in fields(PromptKeywords)}
    return PromptKeywords(
        **{name: value for name, value in call.arguments.items() if name in names}
    )


def text_field(path: str, item: Mapping[str, Any], name: str) -> str:
    """A text in an item of a body; ``path`` is the item's place in the body.

    Raises:
        BadRequest: the field is missing, or is no text.
    """
    value = item.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"{path}.{name} must be a text", f"{path}.{name}", "invalid_value")
    return value


def set_field(data: dict[str, Any], name: str, value: Any, said: str) -> None:
    """Sets a field of a body with OpenAI's names. ``None`` leaves it as it is.

    Args:
        data: the body.
        name: OpenAI's name of the field.
        value: its value.
        said: the client's name of the field.

    Raises:
        BadRequest: the body has another value under OpenAI's name.
    """
    if value is None:
        return
    if data.get(name) is not None and data[name] != value:
        raise BadRequest(
            f"{said} and {name} are given with different values; give only one of them", said
        )
    data[name] = value


def checked_call(
    data: dict[str, Any],
    form: ReplyForm,
    *,
    chat: bool,
    custom_tools: bool = True,
    one_text: bool = False,
) -> InterfaceCall:
    """The call for a body with OpenAI's names and nulls.

    Args:
        data: the body.
        form: writes the reply.
        chat: whether the body has messages instead of a prompt.
        custom_tools: whether the interface knows tools of the type ``custom``.
        one_text: whether a reply of the interface has one text.

    Raises:
        BadRequest: a field is wrong or refused.
    """
    data, others = with_served_tools(data, custom=custom_tools) if chat else (data, [])
    body = check_fields(ChatBody if chat else CompletionBody, data)
    if one_text and body.n is not None and body.n > 1:
        raise BadRequest(
            f"n is {body.n}; it must be 1, because a reply of this endpoint has one text; "
            "/v1/completions and /v1/chat/completions have n",
            "n",
            "unsupported_value",
        )
    effort = effort_field(data) if chat else None
    return InterfaceCall(chat, body.arguments(), form, [*body.unknown, *others], effort)


def call_of(
    data: Mapping[str, Any],
    form: ReplyForm,
    *,
    chat: bool,
    harmless: frozenset[str],
    custom_tools: bool = False,
) -> InterfaceCall:
    """The call for a body with OpenAI's names.

    Args:
        data: the body; ``None`` means that a field is not given.
        form: writes the reply.
        chat: whether the body has messages instead of a prompt.
        harmless: fields of this interface that may be ignored without a word.
        custom_tools: whether the interface knows tools of the type ``custom``.

    Raises:
        BadRequest: a field is wrong or refused.
    """
    given = {name: value for name, value in data.items() if value is not None}
    call = checked_call(given, form, chat=chat, custom_tools=custom_tools, one_text=True)
    return replace(call, unknown=[name for name in call.unknown if name not in harmless])
