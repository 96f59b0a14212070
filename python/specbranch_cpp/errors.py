"""The exceptions of the engine. Each exception also derives from the built-in one that fits."""

from __future__ import annotations

import re

__all__ = [
    "ContextOverflow",
    "DecodeError",
    "EngineClosed",
    "EngineDied",
    "IncompatibleModels",
    "InvalidArgument",
    "MissingExtra",
    "ModelLoadError",
    "SpecBranchError",
]


# Not tabs and ends of lines. Marks of directions may show a text in another order than it has.
_CONTROL = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with escapes, such as ``\\x1b``, for characters that a terminal would obey.

    Names and other metadata of files, and what clients send, come through here before they reach a
    terminal or a log.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class SpecBranchError(RuntimeError):
    """Base of every error that the engine raises.

    Its text never has characters that a terminal would obey, whatever a file or a client sent.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class InvalidArgument(SpecBranchError, ValueError):  # noqa: N818
    """An argument has the wrong type or is out of its range. Nothing was started."""


class MissingExtra(SpecBranchError, ImportError):  # noqa: N818
    """A feature needs a package that is not installed; the message names the extra to install."""


class ModelLoadError(SpecBranchError, OSError):
    """A file cannot be opened or is not a text model, or there is not enough memory."""


class IncompatibleModels(SpecBranchError, ValueError):  # noqa: N818
    """Draft and target cannot be used together. The message names the first difference."""


class ContextOverflow(SpecBranchError, ValueError):  # noqa: N818
    """The prompt leaves no room in the context."""


class DecodeError(SpecBranchError):
    """A forward pass of the target failed and the generation ended.

    The engine stays usable, unless the target is in an unknown state; then every later call raises
    the same error. A draft that fails ends no generation: ``stats.mode_reason`` gives its error.
    """


class EngineClosed(SpecBranchError):  # noqa: N818
    """The engine was closed, or it was created before this process was forked."""


class EngineDied(EngineClosed):
    """The process of an engine with ``isolate=True`` or ``rpc_servers`` has ended by itself.

    llama.cpp has ended it, or the system has: for want of memory, because a model file was cut
    while it was mapped, or because another host was lost. The texts of this engine end with this
    error; a new engine can be made.

    Attributes:
        exit_code: how the process ended; negative: the number of the signal. ``None``: not known.
        log: the last lines that llama.cpp has written, oldest first, at most 20.
    """

    exit_code: int | None = None
    log: tuple[str, ...] = ()
