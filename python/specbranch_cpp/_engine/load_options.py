"""The options of an engine, checked as far as that needs no model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._engine.model_options import CPU
from specbranch_cpp._engine.request import Defaults
from specbranch_cpp._rpc.addresses import parse_addresses
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp._engine.keywords import Named
    from specbranch_cpp._engine.model_options import ModelArgument
    from specbranch_cpp._engine.text_sources import TextSources
    from specbranch_cpp._rpc.addresses import Address
    from specbranch_cpp.options import Speculation
    from specbranch_cpp.results import LoraAdapter

__all__ = ["LoadOptions", "check_options"]

WITHOUT_DRAFT = ("auto", "speculative")
"""The modes in which texts propose tokens, so that they need no draft model."""


@dataclass(frozen=True)
class LoadOptions:
    """The options of an engine, checked as far as that needs no model. They can be pickled.

    Attributes:
        target: the target.
        draft: the draft. ``None``: the engine has none.
        speculation: the default options of calls.
        adapters: paths and scales of the target's LoRA adapters.
        sources: the texts that propose tokens.
        n_parallel: the largest number of generations that run at once.
        measure_costs: whether to measure step costs.
        profile: the absolute path of the profile. ``None``: there is none.
        bit_exact: whether every token gets the same logits in every mode.
        prefix_reuse: which KV cells a call reuses.
        trusted: whether files are loaded without a trial.
        rpc_servers: hosts whose devices take layers of the target.
        verbose: whether the log goes to standard error.
    """

    target: ModelArgument
    draft: ModelArgument | None
    speculation: Named[Speculation]
    adapters: list[tuple[bytes, float]]
    sources: TextSources
    n_parallel: int
    measure_costs: bool
    profile: str | None
    bit_exact: bool
    prefix_reuse: str
    trusted: bool
    rpc_servers: tuple[Address, ...]
    verbose: bool

    @property
    def sides(self) -> list[ModelArgument]:
        """The target and, if there is one, the draft."""
        return [self.target] if self.draft is None else [self.target, self.draft]

    def with_hosts(self, remote: Sequence[str], local: Sequence[str]) -> LoadOptions:
        """The options with names of devices: the target has those of all hosts, the draft has only
        those of this host. Names that the caller gave stay.

        Args:
            remote: devices of other hosts.
            local: GPUs of this host.
        """
        target = self.target.with_devices([*remote, *local])
        draft = self.draft
        # A list without a GPU is the CPU; an empty one would be all devices.
        return replace(
            self,
            target=target,
            draft=None if draft is None else draft.with_devices(local or [CPU]),
        )

    def final_defaults(self, adapters: tuple[LoraAdapter, ...], *, can_speculate: bool) -> Defaults:
        """The defaults of calls, when the models are known."""
        sources = self.sources
        defaults = replace(
            Defaults.of(self.speculation),
            adapters=adapters,
            lookup=sources.lookup,
            lookup_answers=sources.lookup and sources.lookup_answers,
        )
        if self.speculation.value.mode is None and not can_speculate:
            defaults = replace(defaults, mode="autoregressive")
        return defaults


def check_options(
    target: ModelArgument,
    draft: ModelArgument | None,
    speculation: Named[Speculation],
    *,
    adapters: list[tuple[bytes, float]],
    sources: TextSources,
    n_parallel: int,
    measure_costs: bool,
    profile: str | os.PathLike[str] | None,
    bit_exact: bool,
    prefix_reuse: str,
    trusted: bool,
    rpc_servers: Sequence[str] | None,
    verbose: bool,
    progress_callback: Callable[[float], object] | None,
) -> LoadOptions:
    """Checks the arguments of `Engine`.

    Raises:
        InvalidArgument: an argument has the wrong type or is out of its range.
    """
    target.core_options()
    if draft is not None:
        draft.core_options()
    checked.flag("trusted", trusted)
    checked.flag("verbose", verbose)
    if progress_callback is not None and not callable(progress_callback):
        raise InvalidArgument(
            f"progress_callback is {progress_callback!r}; it must be callable or None"
        )
    Defaults.of(speculation)
    if draft is None:
        _check_without_draft(speculation, sources)
    checked.text("prefix_reuse", prefix_reuse)
    checked.integer("n_parallel", n_parallel, 1, _core.MAX_PARALLEL)
    checked.flag("bit_exact", bit_exact)
    checked.flag("measure_costs", measure_costs)
    profile_path = None
    if profile is not None:
        profile_path = str(Path(os.fsdecode(checked.path("profile", profile))).absolute())
        if draft is None:
            raise InvalidArgument(
                f"profile is {os.fsdecode(profile)!r}; without a draft it must be None"
            )
    return LoadOptions(
        target,
        draft,
        speculation,
        adapters,
        sources,
        n_parallel,
        measure_costs,
        profile_path,
        bit_exact,
        prefix_reuse,
        trusted,
        parse_addresses("rpc_servers", rpc_servers),
        verbose,
    )


def _check_without_draft(speculation: Named[Speculation], sources: TextSources) -> None:
    """Refuses modes and policies that need a draft model.

    Raises:
        InvalidArgument: the mode needs a draft, or there is a policy, which only such modes take.
    """
    mode, policy, prefix = speculation.value.mode, speculation.value.policy, speculation.prefix
    allowed = (*WITHOUT_DRAFT, "autoregressive") if sources.lookup else ("autoregressive",)
    if mode is not None and mode not in allowed:
        raise InvalidArgument(
            f"{prefix}mode is {mode!r}; without a draft it must be one of {', '.join(allowed)}"
            if sources.lookup
            else f"{prefix}mode is {mode!r}; without a draft and lookup it must be 'autoregressive'"
        )
    if policy is not None and mode != "autoregressive":
        raise InvalidArgument(
            f"{prefix}policy is {policy!r}, but the engine has no draft; it must be None, because "
            "policies rule what a draft model drafts"
        )
