"""Turns keywords into the objects of `specbranch_cpp.options`. Each option is given in one way."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from specbranch_cpp._engine.model_options import ModelArgument
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.options import Model, Sampling, Speculation

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_Value = TypeVar("_Value")
_USUAL = Sampling()


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
        return ModelArgument(keywords, role, prefix)
    said = {
        f"{prefix}{field.name}": getattr(keywords, field.name)
        for field in fields(Model)
        if field.name != "path"
    }
    _refuse_beside(role, given, said)
    return ModelArgument(given, role, f"{role}.")


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


def chosen_sampling(
    given: Sampling | None,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repeat_penalty: float | None = None,
    presence_penalty: float | None = None,
    frequency_penalty: float | None = None,
    logit_bias: Mapping[int, float] | None = None,
    grammar: str | None = None,
    seed: int | None = None,
) -> Named[Sampling]:
    """The caller's object, or the object of the keywords.

    Raises:
        InvalidArgument: the caller gave an object, and a keyword for which the object has a field;
            or ``given`` has another type.
    """
    if given is None:
        made = Sampling(
            temperature=_said(temperature, _USUAL.temperature),
            top_k=_said(top_k, _USUAL.top_k),
            top_p=_said(top_p, _USUAL.top_p),
            min_p=_said(min_p, _USUAL.min_p),
            repeat_penalty=_said(repeat_penalty, _USUAL.repeat_penalty),
            presence_penalty=_said(presence_penalty, _USUAL.presence_penalty),
            frequency_penalty=_said(frequency_penalty, _USUAL.frequency_penalty),
            logit_bias=logit_bias,
            grammar=grammar,
            seed=seed,
        )
        return Named(made)
    if not isinstance(given, Sampling):
        raise InvalidArgument(f"sampling is {given!r}; it must be a Sampling or None")
    said = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "logit_bias": logit_bias,
        "grammar": grammar,
        "seed": seed,
    }
    _refuse_beside("sampling", given, said)
    return Named(given, "sampling.")


def _said(value: _Value | None, usual: _Value) -> _Value:
    return usual if value is None else value


def _refuse_beside(argument: str, given: object, said: Mapping[str, Any]) -> None:
    """Refuses the first keyword for which the object has a field."""
    for name, value in said.items():
        if value is not None:
            kind = type(given).__name__
            raise InvalidArgument(
                f"{name} is {value!r}, but {argument} is a {kind} with this field; set the field "
                f"(dataclasses.replace makes a copy with another value)"
            )
