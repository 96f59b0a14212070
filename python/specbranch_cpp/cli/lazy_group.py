"""Imports a command when it is called, because help and completion need only its name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LazyCommand", "LazyGroup", "typer_app"]


@dataclass(frozen=True)
class LazyCommand:
    """The location of a command.

    Attributes:
        module: name of the module in ``specbranch_cpp.cli``. It is imported when the command is
            called. If the module has an ``EPILOG``, that text ends the command's help.
        attribute: name of the function in the module, or of the `typer.Typer` of several commands.
        short_help: text for the list of all commands.
    """

    module: str
    attribute: str
    short_help: str

    def load(self, name: str) -> Any:
        """The command with its options, as an object of click or of Typer's copy of click."""
        module = import_module(f"specbranch_cpp.cli.{self.module}")
        made = getattr(module, self.attribute)
        if not isinstance(made, typer.Typer):
            function, made = made, typer_app()
            made.command(epilog=getattr(module, "EPILOG", None))(function)
        command = get_command(made)
        command.name = name
        return command


class LazyGroup(TyperGroup):
    """A group that knows names and short help of its commands, and loads a command when needed."""

    lazy: ClassVar[Mapping[str, LazyCommand]]
    """The commands by name."""

    @classmethod
    def add_to(cls, app: typer.Typer) -> None:
        """Adds a stand-in for every command to an application whose ``cls`` is this class."""
        for name, command in cls.lazy.items():
            app.command(name, short_help=command.short_help)(_stand_in)

    def loaded(self, name: str) -> Any:
        """The command with this name and its options."""
        return self.lazy[name].load(name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that the arguments call, or for which a shell completes them."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, None if stand_in is None else self.loaded(str(stand_in.name)), rest


def _stand_in() -> None:
    raise AssertionError("a command that was not loaded cannot be called")


def typer_app(**options: Any) -> typer.Typer:
    """A `typer.Typer` with the settings that all commands share."""
    return typer.Typer(
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        **{"add_completion": False, **options},
    )
