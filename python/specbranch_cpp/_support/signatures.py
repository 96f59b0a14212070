"""Gives methods the parameters of another method, without a second list of parameters."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
SelfT = TypeVar("SelfT")
ResultT = TypeVar("ResultT")


def with_parameters_of(
    source: Callable[Concatenate[Any, P], object],
) -> Callable[
    [Callable[Concatenate[SelfT, ...], ResultT]], Callable[Concatenate[SelfT, P], ResultT]
]:
    """Gives a method the parameters of ``source``: for type checkers, editors and `help`."""

    def decorate(
        method: Callable[Concatenate[SelfT, ...], ResultT],
    ) -> Callable[Concatenate[SelfT, P], ResultT]:
        result = inspect.signature(method).return_annotation
        signature = inspect.signature(source).replace(return_annotation=result)
        method.__signature__ = signature  # type: ignore[attr-defined]
        return method

    return decorate


def arguments_of(method: Callable[..., object], *args: Any, **options: Any) -> dict[str, Any]:
    """All arguments of a call of an unbound method, by name and without the object.

    Raises:
        TypeError: the method does not take these arguments.
    """
    bound = inspect.signature(method).bind(None, *args, **options)
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])
