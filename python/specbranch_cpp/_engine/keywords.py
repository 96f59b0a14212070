"""Turns keywords into the objects of `specbranch_cpp.options`. Each option is given in one way."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from specbranch_cpp._engine.model_options import ModelArgument
from specbranch_cpp._engine.request import TextRequest
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.options import Model, Sampling, Speculation

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from specbranch_cpp._engine.text_engine import GenerateKeywords

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Named(Generic[_Value]):
    """An object of options.

    Attributes:
        value: the object.
        prefix: the prefix of field names in messages: ``"sampling."``, or an empty text if the
            caller gave keywords.
    """

    value: _Value
    prefix: str = ""


def model_argument(
    role: str, given: str | os.PathLike[str] | Model, keywords: Model, prefix: str
) -> ModelArgument:
    """The target or the draft: the caller's object, or the object of the keywords.

    Args:
        role: ``"target"`` or ``"draft"``.
        given: the caller's argument.
        keywords: the path and the caller's keywords, as an object.
        prefix: the prefix of the keywords' names.

    Raises:
        InvalidArgument: the caller gave an object, and a keyword for which the object has a field.
    """
    if not isinstance(given, Model):
        return ModelArgument(_lasting(keywords), role, prefix)
    said = {
        f"{prefix}{field.name}": getattr(keywords, field.name)
        for field in fields(Model)
        if field.name != "path"
    }
    _refuse_beside(role, given, said)
    return ModelArgument(_lasting(given), role, f"{role}.")


def _lasting(model: Model) -> Model:
    """The same, with lists in the place of what can be read only once: options are read twice."""
    values = {field.name: getattr(model, field.name) for field in fields(Model)}
    lasting = {name: checked.lasting(value) for name, value in values.items()}
    changed = {name: value for name, value in lasting.items() if value is not values[name]}
    return replace(model, **changed) if changed else model


def chosen_speculation(given: Speculation | None, keywords: Speculation) -> Named[Speculation]:
    """The caller's object, or the object of the keywords.

    Raises:
        InvalidArgument: the caller gave an object, and a keyword for which the object has a field;
            or ``given`` has another type.
    """
    if given is None:
        return Named(keywords)
    if not isinstance(given, Speculation):
        raise InvalidArgument(f"speculation is {given!r}; it must be a Speculation or None")
    said = {field.name: getattr(keywords, field.name) for field in fields(Speculation)}
    _refuse_beside("speculation", given, said)
    return Named(given, "speculation.")


def chosen_sampling(given: Sampling | None, **keywords: Any) -> Named[Sampling]:
    """The caller's object, or the object of the keywords.

    Args:
        given: the caller's object.
        **keywords: a value for each field; ``None``: the caller did not give it.

    Raises:
        InvalidArgument: the caller gave an object, and a keyword for which the object has a field;
            or ``given`` has another type.
    """
    if given is None:
        said = {name: value for name, value in keywords.items() if value is not None}
        return Named(Sampling(**said))
    if not isinstance(given, Sampling):
        raise InvalidArgument(f"sampling is {given!r}; it must be a Sampling or None")
    _refuse_beside("sampling", given, keywords)
    return Named(given, "sampling.")


def generate_request(
    prompt: str | Sequence[int], **options: Unpack[GenerateKeywords]
) -> TextRequest:
    """The arguments of `Engine.generate` as a request.

    Raises:
        InvalidArgument: an option is given twice, or an object of options has another type.
    """
    said: dict[str, Any] = dict(options)
    sampling, speculation = said.pop("sampling", None), said.pop("speculation", None)
    of_sampling = {field.name: said.pop(field.name, None) for field in fields(Sampling)}
    of_speculation = {field.name: said.pop(field.name, None) for field in fields(Speculation)}
    return TextRequest(
        prompt=prompt,
        sampling=chosen_sampling(sampling, **of_sampling),
        speculation=chosen_speculation(speculation, Speculation(**of_speculation)),
        **said,
    )


def _refuse_beside(argument: str, given: object, said: Mapping[str, Any]) -> None:
    """Refuses the first keyword for which the object has a field."""
    for name, value in said.items():
        if value is not None:
            kind = type(given).__name__
            raise InvalidArgument(
                f"{name} is {value!r}, but {argument} is a {kind} with this field; set the field "
                f"(dataclasses.replace makes a copy with another value)"
            )
