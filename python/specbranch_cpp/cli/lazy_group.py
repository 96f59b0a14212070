"""Commands that are imported when they are called: help and completion need only their names."""

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
    """Where a command is.

    Attributes:
        module: of ``specbranch_cpp.cli``; imported when the command is called. Its ``EPILOG``, if
            it has one, ends the command's help.
        attribute: the function there, or the `typer.Typer` of a group of commands.
        short_help: of the command, for the list of all.
    """

    module: str
    attribute: str
    short_help: str

    def load(self, name: str) -> Any:
        """The command with its options: an object of click, of which Typer may have a copy."""
        module = import_module(f"specbranch_cpp.cli.{self.module}")
        made = getattr(module, self.attribute)
        if not isinstance(made, typer.Typer):
            function, made = made, typer_app()
            made.command(epilog=getattr(module, "EPILOG", None))(function)
        command = get_command(made)
        command.name = name
        return command


class LazyGroup(TyperGroup):
    """A group that knows the names and short helps of its commands, and loads what is called."""

    lazy: ClassVar[Mapping[str, LazyCommand]]
    """The commands by name."""

    @classmethod
    def add_to(cls, app: typer.Typer) -> None:
        """Gives the application, whose ``cls`` this is, a stand-in for every command."""
        for name, command in cls.lazy.items():
            app.command(name, short_help=command.short_help)(_stand_in)

    def loaded(self, name: str) -> Any:
        """The command of this name, with its options."""
        return self.lazy[name].load(name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that the arguments call, or are completed for."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, None if stand_in is None else self.loaded(str(stand_in.name)), rest


def _stand_in() -> None:
    raise AssertionError("a command that was not loaded cannot be called")


def typer_app(**options: Any) -> typer.Typer:
    """A `typer.Typer` with what all of ours have in common."""
    return typer.Typer(
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        **{"add_completion": False, **options},
    )
