"""Checks the bodies of the two calls and turns them into keyword arguments of the engine."""

from __future__ import annotations

import json
import re
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import pydantic_core
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from specbranch_cpp._support.sampler_letters import samplers_of
from specbranch_cpp.grammars import Lark, Regex
from specbranch_cpp.openai_api.logit_bias import checked_pairs
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.server.answer_forms import with_own_form
from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.fields import KNOWN, Items, refusal, whole_number, without_nulls
from specbranch_cpp.server.other_names import with_own_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "ChatBody",
    "CompletionBody",
    "check_fields",
    "check_model",
    "parse",
    "parse_scales",
    "read_object",
]

BodyT = TypeVar("BodyT", bound=BaseModel)

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Limit = Annotated[int, Field(ge=-2, le=2**31 - 1)]
Window = Annotated[int, Field(ge=-1, le=2**31 - 1)]
Natural = Annotated[int, Field(ge=0, le=2**31 - 1)]
Positive = Annotated[float, Field(ge=0.0)]
Mirostat = Annotated[int, Field(ge=0, le=2)]
Stop = Annotated[Items[Annotated[str, Field(min_length=1)]], Field(max_length=64)]
TokenIds = Annotated[Items[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1)]
Object = dict[str, Any]

MOST_ANSWERS = 128
"""The largest ``n`` and ``best_of``, as in OpenAI's interface."""


# Which member of a union is meant, so that an error names what is wrong in it.
def _form_of_one(value: Any) -> str | None:
    return "text" if isinstance(value, str) else "ids" if isinstance(value, list) else None


def _form_of_all(value: Any) -> str | None:
    several = isinstance(value, list) and value and isinstance(value[0], str | list)
    return "prompts" if several else _form_of_one(value)


Text = Annotated[str, Tag("text")]
Ids = Annotated[TokenIds, Tag("ids")]
OnePrompt = Annotated[
    Union[Text, Ids],  # noqa: UP007
    Discriminator(_form_of_one, "prompt_form", "it must be a text or a list of token ids"),
]
Prompts = Annotated[Items[OnePrompt], Field(min_length=1, max_length=2048), Tag("prompts")]


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types of a union, without what annotates them."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _kinds(arguments[0])
    elif origin in (Union, UnionType):
        for each in arguments:
            yield from _kinds(each)
    else:
        yield annotation


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, data: Any) -> Any:
        return without_nulls(cls, data)

    @field_validator("*", mode="before")
    @classmethod
    def _whole(cls, value: Any, info: ValidationInfo) -> Any:
        whole = whole_number(value)
        if whole is value:
            return value
        kinds = set(_kinds(cls.model_fields[info.field_name or ""].annotation))
        return whole if int in kinds and float not in kinds else value


class StreamOptions(_Body):
    include_usage: bool = False
    include_obfuscation: bool = False

    @property
    def unknown(self) -> list[str]:
        """Places of unknown fields in the body."""
        return sorted(f"stream_options.{name}" for name in self.model_extra or ())


class ResponseFormat(_Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Object | None = None


class PredictionPart(_Body):
    type: Literal["text"]
    text: str


class Prediction(_Body):
    """OpenAI's predicted output."""

    type: Literal["content"]
    content: Union[str, Items[PredictionPart]]  # noqa: UP007 (pydantic reads this on Python 3.10)


class LoraScale(_Body):
    """One adapter of llama-server's field ``lora``."""

    id: Annotated[int, Field(ge=0, le=2**31 - 1)]
    scale: float


LoraScales = Annotated[Items[LoraScale], Field(max_length=1024)]
_SCALES = TypeAdapter(LoraScales)


class _Common(_Body):
    """The fields of both calls. ``None`` (null in JSON) means the engine's default."""

    max_tokens: Limit | None = None
    temperature: Annotated[float, Field(ge=0.0)] | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_penalty: Annotated[float, Field(gt=0.0)] | None = None
    repeat_last_n: Window | None = None
    typical_p: Probability | None = None
    top_n_sigma: float | None = None
    min_keep: Natural | None = None
    dynatemp_range: Positive | None = None
    dynatemp_exponent: Positive | None = None
    xtc_probability: Probability | None = None
    xtc_threshold: Probability | None = None
    dry_multiplier: Positive | None = None
    dry_base: Annotated[float, Field(ge=1.0)] | None = None
    dry_allowed_length: Natural | None = None
    dry_penalty_last_n: Window | None = None
    dry_sequence_breakers: Items[str] | None = None
    mirostat: Mirostat | None = None
    mirostat_mode: Mirostat | None = None
    mirostat_tau: Positive | None = None
    mirostat_eta: Positive | None = None
    adaptive_target: Annotated[float, Field(le=1.0)] | None = None
    adaptive_decay: Annotated[float, Field(ge=0.0, le=0.99)] | None = None
    samplers: Items[str] | None = None
    logit_bias: Any = None
    stop: Union[str, Stop, None] = None  # noqa: UP007 (pydantic reads this on Python 3.10, too)
    seed: Annotated[int, Field(ge=-1, le=2**64 - 1)] | None = None
    grammar: Union[str, Lark, Regex, None] = None  # noqa: UP007
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    mode: str | None = None
    max_branches: Count | None = None
    max_draft: Count | None = None
    lookup: bool | None = None
    lookup_answers: bool | None = None
    trace: bool | None = None
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None = None
    response_format: ResponseFormat | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Items[Annotated[int, Field(ge=0, le=2**31 - 1)]] | None = None
    min_tokens: Natural | None = None
    lora: LoraScales | None = None
    prediction: Union[str, TokenIds, Prediction, None] = None  # noqa: UP007
    return_token_ids: bool | None = None

    @field_validator("samplers", mode="before")
    @classmethod
    def _letters(cls, value: Any) -> Any:
        """llama-server also takes a string with a letter for each sampler."""
        return samplers_of(value) if isinstance(value, str) else value

    @field_validator("mirostat_mode")
    @classmethod
    def _one_mirostat(cls, value: int | None, info: ValidationInfo) -> int | None:
        """llama-server's name is ``mirostat``, llama-cpp-python's is ``mirostat_mode``."""
        other = info.data.get("mirostat")
        if None not in (value, other) and value != other:
            raise ValueError(f"mirostat is another name of this field, and has the value {other}")
        return value

    @field_validator("n")
    @classmethod
    def _one_trace(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > 1 and info.data.get("trace"):
            raise ValueError("with trace it must be 1")
        return value

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _biases(cls, value: Any) -> Any:
        if value is not None:
            checked_pairs(value)
        return value

    def arguments(self) -> dict[str, Any]:
        """The given fields as keyword arguments of the engine."""
        given = self.model_dump(exclude_none=True, exclude=set(self.model_extra or ()))
        if self.grammar is not None:
            given["grammar"] = self.grammar  # a rule would be a dict
        if given.get("seed") == -1:  # llama-server's value for a random seed
            del given["seed"]
        if self.lora is not None:
            given["lora"] = scales_of(self.lora)
        options = given.pop("stream_options", None)
        if options is not None and given.get("stream"):
            given["stream_options"] = {"include_usage": options["include_usage"]}
        if "mirostat" in given:
            given["mirostat_mode"] = given.pop("mirostat")
        if given.get("n") == 1:
            del given["n"]
        return given

    @property
    def unknown(self) -> list[str]:
        """Names of unknown fields, and places of those in ``stream_options``."""
        options = self.stream_options
        inner = [] if options is None else options.unknown
        return sorted(set(self.model_extra or ()) - KNOWN) + inner


class CompletionBody(_Common):
    """Body of ``/v1/completions``."""

    # An empty text becomes the BOS token.
    prompt: Annotated[
        Union[Text, Ids, Prompts],  # noqa: UP007
        Discriminator(
            _form_of_all,
            "prompt_form",
            "it must be a text, a list of token ids, or a list of texts and of such lists",
        ),
    ]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None = None

    @field_validator("best_of")
    @classmethod
    def _choosable(cls, value: int | None, info: ValidationInfo) -> int | None:
        given = info.data
        if value is None:
            return None
        if value < (n := given.get("n") or 1):
            raise ValueError(f"it must be at least n, which is {n}")
        if value > 1:
            for name in ("stream", "trace"):
                if given.get(name):
                    raise ValueError(f"with {name} it must be 1")
            if given.get("echo") and given.get("suffix") is not None:
                raise ValueError("with echo and suffix it must be 1")
        return value

    @field_validator("logprobs", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        """False, from clients that know the field of chats, asks for none."""
        return None if value is False else value

    @field_validator("prompt", mode="before")
    @classmethod
    def _single(cls, value: Any) -> Any:
        """A list with one prompt is this prompt."""
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
            return value[0]
        return value

    @field_validator("prompt")
    @classmethod
    def _untraced(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, list) and not isinstance(value[0], int) and info.data.get("trace"):
            raise ValueError(
                f"the request has {len(value)} prompts; with trace it may have only one"
            )
        return value

    def arguments(self) -> dict[str, Any]:
        given = super().arguments()
        if given.get("best_of") == 1:
            del given["best_of"]
        return given


class Message(_Body):
    """A message of a chat. `plain_messages` checks its content."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Union[str, Items[Union[str, Object]], None] = None  # noqa: UP007
    tool_calls: Items[Object] | None = None


class ChatBody(_Common):
    """Body of ``/v1/chat/completions``."""

    messages: Annotated[Items[Message], Field(min_length=1)]
    max_completion_tokens: Limit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Items[Object] | None = None
    tool_choice: Union[str, Object, None] = None  # noqa: UP007
    parallel_tool_calls: bool | None = None
    functions: Items[Object] | None = None
    function_call: Union[str, Object, None] = None  # noqa: UP007
    chat_template_kwargs: Object | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None

    def arguments(self) -> dict[str, Any]:
        given = super().arguments()
        # The original dictionaries: templates distinguish a missing field from a null.
        given["messages"] = [message.model_dump(exclude_unset=True) for message in self.messages]
        plain_messages(given["messages"])  # a wrong message is reported before it waits
        return given


def scales_of(adapters: list[LoraScale]) -> list[tuple[int, float]]:
    """The argument ``lora`` of `Engine.generate`."""
    return [(each.id, each.scale) for each in adapters]


def parse(kind: type[CompletionBody] | type[ChatBody], body: bytes, max_depth: int) -> Any:
    """The checked body.

    Raises:
        BadRequest: the body is not JSON, it is nested deeper than ``max_depth``, or a field is
            wrong or not supported.
        InvalidArgument: ``logit_bias`` has a shape of no server.
    """
    return check_fields(kind, read_object(body, max_depth))


def read_object(body: bytes, max_depth: int) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        BadRequest: the body is not a JSON object, or it is nested deeper than ``max_depth``.
    """
    data: dict[str, Any] = _json(body, dict, max_depth)
    return data


def check_fields(kind: type[CompletionBody] | type[ChatBody], data: dict[str, Any]) -> Any:
    """The checked fields of a body.

    Raises:
        BadRequest: a field is wrong or not supported.
        InvalidArgument: see `parse`.
    """
    own, said = with_own_names(with_own_form(data), chat=kind is ChatBody)
    refused = refusal(own)
    if refused is not None:
        name, why = refused
        raise BadRequest(why, name, "unsupported_value")
    return check_model(kind, own, said)


def check_model(
    kind: type[BodyT], data: dict[str, Any], said: Mapping[str, str] | None = None
) -> BodyT:
    """The fields as an object with the right types.

    Args:
        kind: the type of the object.
        data: the fields.
        said: the client's names of fields that have another name.

    Raises:
        BadRequest: a field is wrong.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _bad_field(error, data, said or {}) from None


def parse_scales(body: bytes, max_depth: int) -> list[tuple[int, float]]:
    """The checked body of ``POST /lora-adapters``; errors as in `parse`."""
    data = _json(body, list, max_depth)
    try:
        return scales_of(_SCALES.validate_python(data))
    except ValidationError as error:
        raise _bad_field(error, data, {}) from None


def _json(body: bytes, kind: type[dict[Any, Any]] | type[list[Any]], max_depth: int) -> Any:
    try:
        data = pydantic_core.from_json(body)
    except ValueError as error:
        raise BadRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(data, kind):
        what = "object" if kind is dict else "array"
        raise BadRequest(f"the body must be a JSON {what}", code="invalid_json")
    _check_depth(data, max_depth)
    return data


def _check_depth(data: Any, limit: int) -> None:
    level = [data]
    depth = 0
    while level:
        depth += 1
        if depth > limit:
            raise BadRequest(
                f"the body is nested deeper than {limit} levels, which is the limit",
                code="invalid_json",
            )
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]


def _bad_field(error: ValidationError, data: Any, said: Mapping[str, str]) -> BadRequest:
    """The error for the wrong field, under the name that the client used.

    A union has several errors. The innermost error has most likely the intended type.
    """
    details = error.errors(include_url=False, include_context=False)
    paths = [_path(detail["loc"], data, detail["type"] == "missing") for detail in details]
    worst = max(paths, key=lambda path: path.count(".") + path.count("["))
    chosen = [detail for detail, path in zip(details, paths, strict=True) if path == worst]
    reasons = dict.fromkeys(detail["msg"].removeprefix("Value error, ") for detail in chosen)
    missing = chosen[0]["type"] == "missing"
    code = "missing_required_parameter" if missing else "invalid_value"
    value = "" if missing else _shown(chosen[0]["input"])
    name = re.split(r"[.\[]", worst, maxsplit=1)[0]
    worst = said.get(name, name) + worst[len(name) :]
    return BadRequest(f"{worst}{value}: {'; or: '.join(reasons)}", worst, code)


def _shown(value: Any) -> str:
    """The value for a message, such as `` is "hot"``; empty for long values."""
    if isinstance(value, dict | list):
        return ""
    shown = json.dumps(value)
    return f" is {shown}" if len(shown) <= 60 else ""


def _path(location: Sequence[str | int], data: Any, missing: bool) -> str:
    """The path in the body, such as ``messages[0].role``, without pydantic's own steps.

    If a field is missing, the last step is the name of this field.
    """
    path = ""
    for i, step in enumerate(location):
        if isinstance(step, int) and isinstance(data, list) and step < len(data):
            path += f"[{step}]"
            data = data[step]
        elif isinstance(step, str) and isinstance(data, dict):
            last = missing and i == len(location) - 1
            if step in data or last:
                path += f".{step:.100}" if path else f"{step:.100}"
            data = data.get(step, None if last else data)
    return path
