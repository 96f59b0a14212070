"""The exceptions of the engine. Each is also the built-in exception that it is a kind of."""

from __future__ import annotations

__all__ = [
    "ContextOverflow",
    "DecodeError",
    "EngineClosed",
    "IncompatibleModels",
    "InvalidArgument",
    "MissingExtra",
    "ModelLoadError",
    "SpecBranchError",
]


class SpecBranchError(RuntimeError):
    """Base of every error that the engine raises."""


class InvalidArgument(SpecBranchError, ValueError):  # noqa: N818
    """An argument is of the wrong kind or out of its range; nothing was started."""


class MissingExtra(SpecBranchError, ImportError):  # noqa: N818
    """A package is not installed that only this needs; the message names the extra to install."""


class ModelLoadError(SpecBranchError, OSError):
    """A file cannot be opened or is no model that generates, or there is too little memory."""


class IncompatibleModels(SpecBranchError, ValueError):  # noqa: N818
    """Draft and target do not fit together; the message names the first difference."""


class ContextOverflow(SpecBranchError, ValueError):  # noqa: N818
    """The prompt leaves no room in the context."""


class DecodeError(SpecBranchError):
    """A forward pass failed. The generation is over; the engine can be used on.

    Only if the models are in an unknown state, every later call raises the same error.
    """


class EngineClosed(SpecBranchError):  # noqa: N818
    """The engine was closed, or this process is a fork of the one that made it."""
