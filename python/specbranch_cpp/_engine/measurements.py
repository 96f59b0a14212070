"""What an engine measures: statistics, step costs, memory, the profile of the pair."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from specbranch_cpp._pair import pair_profile
from specbranch_cpp._support import checked
from specbranch_cpp.errors import EngineClosed, InvalidArgument
from specbranch_cpp.results import EngineStats, ExactRows, PairPlacement, StepCosts

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from specbranch_cpp import _core

__all__ = ["Measurements"]


class Measurements:
    """The part of `Engine` that reports measurements and saves them."""

    _core: _core.Engine
    _pid: int
    _key: Callable[[], dict[str, Any]] | None
    _placement: PairPlacement | None

    @property
    def stats(self) -> EngineStats:
        """Totals over the generations that have ended."""
        return EngineStats._from_core(self._core.stats)

    @property
    def costs(self) -> StepCosts | None:
        """The step costs, measured while loading and refined since then.

        ``None``: the costs are not known.
        """
        core = self._core
        return StepCosts._from_core(core.profile.costs, core.stats.measure_costs_ms)

    @property
    def exact_rows(self) -> ExactRows | None:
        """The batches that ``bit_exact=True`` allows. ``None``: the engine has no such option, or
        its target is recurrent, so that no batch has more than one token.
        """
        return ExactRows._from_core(self._core.exact_rows)

    @property
    def placement(self) -> PairPlacement | None:
        """Where the models run, and the memory that they take.

        ``None``: it is not known, because llama.cpp does not tell it for ``split_mode`` 2 or 3.
        """
        return self._placement

    def save_profile(self, path: str | os.PathLike[str]) -> None:
        """Writes the measurements of the two models to a file for ``Engine(..., profile=path)``.

        The file is JSON. It contains step costs, acceptance rates, and data that identify the
        models and the machine. An existing file is replaced atomically.

        Raises:
            InvalidArgument: the engine has no draft, or the path does not lead to a regular file.
            EngineClosed: the engine was created before this process was forked.
            OSError: the file cannot be written.
        """
        file = os.fsdecode(checked.path("path", path))
        if os.getpid() != self._pid:
            raise EngineClosed("this process is a fork; the engine belongs to its parent")
        if self._key is None:
            raise InvalidArgument("this engine has no draft model, so it has no profile")
        pair_profile.save(file, self._key(), self._core.profile)
