"""Checks all options of an engine, then loads its models."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core, policies
from specbranch_cpp._engine.adapters import described_adapters
from specbranch_cpp._engine.request import Defaults
from specbranch_cpp._llama import cpu_probe, file_trial
from specbranch_cpp._pair import exact_rows, pair_profile
from specbranch_cpp._pair.hrad_weights import PairFiles, check_pair
from specbranch_cpp._placement import outcome
from specbranch_cpp._placement.planning import Side, plan
from specbranch_cpp._support import checked, logs
from specbranch_cpp._support.raised import refused_by_system
from specbranch_cpp._support.tensor_source import source_of
from specbranch_cpp.errors import InvalidArgument, ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp._engine.keywords import Named
    from specbranch_cpp._engine.model_options import ModelArgument
    from specbranch_cpp._engine.text_sources import TextSources
    from specbranch_cpp.options import Speculation
    from specbranch_cpp.results import PairPlacement

__all__ = ["Loaded", "load"]

WITHOUT_DRAFT = ("auto", "speculative")
"""The modes in which texts propose tokens, so that they need no draft model."""


@dataclass(frozen=True)
class Loaded:
    """The parts of an engine.

    Attributes:
        core: the threads and their models.
        defaults: defaults for the calls of the engine.
        names: the paths of the target and of the draft, if the engine has a draft.
        pair: the files of both models. ``None`` (default): the models have no files, or the engine
            has no draft.
        key: returns the data that must be equal for a profile to be used. ``None`` (default): the
            engine has no draft, so it has no profile.
        profile: path to which `Engine.close` saves the profile. ``None`` (default): no profile.
        placement: where the models run. ``None`` (default): not known.
    """

    core: _core.Engine
    defaults: Defaults
    names: list[str]
    pair: PairFiles | None = None
    key: Callable[[], dict[str, Any]] | None = None
    profile: str | None = None
    placement: PairPlacement | None = None


@refused_by_system(ModelLoadError)
def load(
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
    verbose: bool,
    progress_callback: Callable[[float], object] | None,
) -> Loaded:
    """Checks the options, then loads. The arguments and errors are those of `Engine`.

    ``adapters``: paths and scales of the target's LoRA adapters. ``sources``: the texts that
    propose tokens.
    """
    target_options = target.core_options()
    target_options.adapters = adapters
    draft_options = None if draft is None else draft.core_options()
    checked.flag("verbose", verbose)
    checked.flag("trusted", trusted)
    if progress_callback is not None and not callable(progress_callback):
        raise InvalidArgument(
            f"progress_callback is {progress_callback!r}; it must be callable or None"
        )
    defaults = Defaults.of(speculation)
    mode = speculation.value.mode
    if draft is None:
        _check_without_draft(speculation, sources)
    checked.text("prefix_reuse", prefix_reuse)
    n_parallel = checked.integer("n_parallel", n_parallel, 1, _core.MAX_PARALLEL)
    checked.flag("bit_exact", bit_exact)
    measure = checked.flag("measure_costs", measure_costs) and mode != "autoregressive"
    measure = measure and (draft is not None or sources.lookup)
    profile_path = None
    if profile is not None:
        profile_path = str(Path(os.fsdecode(checked.path("profile", profile))).absolute())
        if draft is None:
            raise InvalidArgument(f"profile is {profile!r}; without a draft it must be None")
    if verbose:
        logs.show()
    models = [side.model.path for side in (target, draft) if side is not None]
    names = [os.fsdecode(path) for path in models]
    cpu_probe.ensure_safe_cpu(names)
    if not trusted:
        sides = [side for side in (target, draft) if side is not None]
        file_trial.ensure_files_load(
            [os.fsdecode(side.model.path) for side in sides if source_of(side.model.path) is None]
        )
    target_options, draft_options, placement = _place(
        target, target_options, draft, draft_options, defaults, n_parallel
    )
    if draft_options is None:
        _core.plan_threads(target_options)
    else:
        _core.plan_threads(target_options, draft_options)
    source = source_of(target.model.path)
    padding = rows_key = None
    if bit_exact and source is None:
        sizes = _core.pair_sizes(
            defaults.draft_room, defaults.max_branches, draft_options or target_options, n_parallel
        )
        rows_key = _rows_key(names[0], target_options, sizes.max_verify)
    if rows_key is not None and (known_rows := exact_rows.recall(rows_key)) is not None:
        padding, target_options.use_extra_bufts = known_rows
    key = None
    if draft_options is not None:
        key = partial(
            pair_profile.make_key,
            target=names[0],
            draft=names[1],
            target_options=target_options,
            draft_options=draft_options,
            bit_exact=bit_exact,
        )
    known = _core.PairProfile()
    if profile_path is not None and key is not None:
        known = pair_profile.load(profile_path, key())
    try:
        core = _core.load_engine(
            target_options,
            draft_options,
            max_draft=defaults.draft_room,
            max_branches=defaults.max_branches,
            n_parallel=n_parallel,
            prefix_reuse=prefix_reuse,
            bit_exact=bit_exact,
            row_padding=padding,
            measure_costs=measure,
            limit_draft_ctx=draft is not None and "n_ctx" in draft.inherited,
            profile=known,
            lookup=sources.lookup,
            lookup_answers=sources.lookup_answers,
            corpus=sources.corpus,
            idle=_idle(progress_callback),
            target_source=source,
            draft_source=None if draft is None else source_of(draft.model.path),
        )
    finally:
        logs.forward()
    for note in core.notes:
        logs.LOGGER.info("%s", note)
    for warning in core.warnings:
        logs.LOGGER.warning("%s", warning)
    if (found := core.exact_rows) is not None:
        target_options.use_extra_bufts = found.repacked
        if rows_key is not None and padding is None:
            exact_rows.remember(rows_key, found)
    defaults = replace(
        defaults,
        adapters=described_adapters(core, target_options),
        lookup=sources.lookup,
        lookup_answers=sources.lookup and sources.lookup_answers,
    )
    if mode is None and not core.can_speculate:
        defaults = replace(defaults, mode="autoregressive")
    if measure and core.has_draft and not core.profile.costs.known:
        logs.LOGGER.warning(
            "the measurement of step costs failed; speculation continues without them"
        )
    pair = None if draft is None else PairFiles(*names)
    if isinstance(defaults.policy, policies.HRAD) and defaults.mode != "autoregressive":
        try:
            check_pair(defaults.policy._file, core, pair)
        except BaseException:
            core.close()
            raise
    return Loaded(core, defaults, names, pair, key, profile_path, placement)


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


def _place(
    target: ModelArgument,
    target_options: _core.ModelOptions,
    draft: ModelArgument | None,
    draft_options: _core.ModelOptions | None,
    defaults: Defaults,
    n_parallel: int,
) -> tuple[_core.ModelOptions, _core.ModelOptions | None, PairPlacement | None]:
    """The options with numbers of layers that fit, and what they mean.

    Raises:
        ModelLoadError: the models do not fit.
    """

    def side(argument: ModelArgument, options: _core.ModelOptions) -> Side:
        return Side(
            argument.role,
            options,
            argument.model.n_gpu_layers is None,
            defaults.draft_room,
            defaults.max_branches,
            with_weights=source_of(argument.model.path) is None,
            n_parallel=n_parallel,
        )

    of_target = side(target, target_options)
    of_draft = None
    if draft is not None and draft_options is not None:
        of_draft = side(draft, draft_options)
    found = plan(of_target, of_draft)
    outcome.check(found, of_target, of_draft)
    if (slow := found.memories.mapped_too_much()) is not None:
        words = outcome.shortage_words(slow, several=of_draft is not None)
        logs.LOGGER.warning("%s; the system will read weights from the disk again and again", words)
    if (placement := outcome.placement_of(found)) is not None:
        logs.LOGGER.info("%s", outcome.line(found))
    if found.target is not None:
        target_options = found.target.side.options
    if found.draft is not None:
        draft_options = found.draft.side.options
    return target_options, draft_options, placement


def _rows_key(target: str, options: _core.ModelOptions, max_path: int) -> str | None:
    """`exact_rows.make_key`; ``None`` if the file cannot be read, which loading then says."""
    try:
        return exact_rows.make_key(target, options, max_path)
    except (OSError, ModelLoadError):
        return None


def _idle(progress: Callable[[float], object] | None) -> Callable[[float | None], None]:
    """The work of the caller's thread while models load: it logs lines and reports progress."""
    shown = -1.0

    def idle(share: float | None) -> None:
        nonlocal shown
        logs.forward()
        if share is not None and share > shown and progress is not None:
            shown = share
            progress(share)

    return idle
