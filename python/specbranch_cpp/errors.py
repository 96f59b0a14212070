"""The exceptions of the engine. Each exception also derives from the built-in one that fits."""

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
