"""Loads the models of an engine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core, policies
from specbranch_cpp._engine import running_loads
from specbranch_cpp._engine.adapters import described_adapters
from specbranch_cpp._engine.request import Defaults
from specbranch_cpp._llama import cpu_probe, file_trial
from specbranch_cpp._llama.slow_build import slow_build_note
from specbranch_cpp._pair import exact_rows, pair_profile
from specbranch_cpp._pair.hrad_weights import PairFiles, check_pair
from specbranch_cpp._placement import outcome
from specbranch_cpp._placement.planning import Side, plan
from specbranch_cpp._rpc.joining import join_servers
from specbranch_cpp._support import logs
from specbranch_cpp._support.raised import refused_by_system
from specbranch_cpp._support.tensor_source import source_of
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp._engine.load_options import LoadOptions
    from specbranch_cpp._engine.model_options import ModelArgument
    from specbranch_cpp.results import PairPlacement

__all__ = ["Loaded", "fake_parts", "load"]


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


def fake_parts(core: _core.Engine) -> Loaded:
    """The parts of an engine with fake models, for tests."""
    mode = "specbranch" if core.has_draft else "autoregressive"
    names = ["fake"] * (1 + core.has_draft)
    return Loaded(core, Defaults(mode), names, key=dict if core.has_draft else None)


@refused_by_system(ModelLoadError)
def load(options: LoadOptions, progress: Callable[[float], object] | None = None) -> Loaded:
    """Loads the models of an engine. The errors are those of `Engine`.

    ``progress`` is called on this thread with the share that is loaded.
    """
    if options.rpc_servers:
        options = _with_hosts(options)
    target, draft = options.target, options.draft
    target_options = target.core_options()
    target_options.adapters = options.adapters
    draft_options = None if draft is None else draft.core_options()
    defaults = Defaults.of(options.speculation)
    mode = options.speculation.value.mode
    sources, n_parallel = options.sources, options.n_parallel
    bit_exact, profile_path = options.bit_exact, options.profile
    measure = options.measure_costs and mode != "autoregressive"
    measure = measure and (draft is not None or sources.lookup)
    if options.verbose:
        logs.show()
    names = [os.fsdecode(side.model.path) for side in options.sides]
    cpu_probe.ensure_safe_cpu(names)
    if not options.trusted:
        _try_files(options)
    target_options, draft_options, placement = _place(
        target, target_options, draft, draft_options, defaults, n_parallel
    )
    if draft_options is None:
        _core.plan_threads(target_options)
    else:
        _core.plan_threads(target_options, draft_options)
    source = source_of(target.model.path)
    padding = rows_key = None
    # What was found with the processor of another host may not hold for the next one.
    if bit_exact and source is None and not options.rpc_servers:
        sizes = _core.pair_sizes(
            defaults.draft_room, defaults.max_branches, draft_options or target_options, n_parallel
        )
        rows_key = _rows_key(names[0], target_options, sizes.max_verify)
    if rows_key is not None and (known_rows := exact_rows.recall(rows_key)) is not None:
        padding, target_options.use_extra_bufts = known_rows
    key = None
    if draft_options is not None and (models := _model_facts(names, target_options)) is not None:
        key = partial(
            pair_profile.make_key,
            models=models,
            target_options=target_options,
            draft_options=draft_options,
            bit_exact=bit_exact,
        )
    known = _core.PairProfile()
    if profile_path is not None and key is not None:
        known = pair_profile.load(profile_path, key())
    running_loads.begin()  # `Lifetime._begin` ends it
    try:
        core = _core.load_engine(
            target_options,
            draft_options,
            max_draft=defaults.draft_room,
            max_branches=defaults.max_branches,
            n_parallel=n_parallel,
            prefix_reuse=options.prefix_reuse,
            bit_exact=bit_exact,
            row_padding=padding,
            measure_costs=measure,
            profile=known,
            lookup=sources.lookup,
            lookup_answers=sources.lookup_answers,
            corpus=sources.corpus,
            idle=_idle(progress),
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
    adapters_found = described_adapters(core, target_options)
    defaults = options.final_defaults(adapters_found, can_speculate=core.can_speculate)
    if measure and core.has_draft and not core.profile.costs.known:
        logs.LOGGER.warning(
            "the measurement of step costs failed; speculation continues without them"
        )
    # The program may go to another folder before the files are read.
    pair = None if draft is None else PairFiles(*(str(Path(name).absolute()) for name in names))
    if isinstance(defaults.policy, policies.HRAD) and defaults.mode != "autoregressive":
        try:
            check_pair(defaults.policy._file, core, pair)
        except BaseException:
            core.close()
            raise
    return Loaded(core, defaults, names, pair, key, profile_path, placement)


def _try_files(options: LoadOptions) -> None:
    """Tries what is new to this user. Weights from memory are the caller's own."""
    files = [
        os.fsdecode(side.model.path) for side in options.sides if source_of(side.model.path) is None
    ]
    file_trial.ensure_files_load(files)
    if source_of(options.target.model.path) is None:
        adapters = [os.fsdecode(path) for path, _ in options.adapters]
        file_trial.ensure_adapters_load(files[0], adapters)


def _with_hosts(options: LoadOptions) -> LoadOptions:
    """Connects to the other hosts, and gives their devices to the target. The errors are those of
    `join_servers`."""
    local = [device.name for device in _core.list_devices() if device.is_gpu]
    return options.with_hosts(join_servers(options.rpc_servers), local)


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
    if (tight := outcome.tightness_words(found)) is not None:
        logs.LOGGER.warning("%s", tight)
    if (placement := outcome.placement_of(found)) is not None:
        logs.LOGGER.info("%s", outcome.line(found))
        if outcome.uses_cpu(placement) and (note := slow_build_note()) is not None:
            logs.LOGGER.warning("%s", note)
    if found.target is not None:
        target_options = found.target.side.options
    if found.draft is not None:
        draft_options = found.draft.side.options
    return target_options, draft_options, placement


def _model_facts(names: Sequence[str], options: _core.ModelOptions) -> dict[str, Any] | None:
    """`pair_profile.model_facts`; ``None`` if a file cannot be read, which loading then says."""
    target, draft = names
    try:
        return pair_profile.model_facts(target, draft, options)
    except OSError:
        return None


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
        running_loads.check()
        logs.forward()
        if share is not None and share > shown and progress is not None:
            shown = share
            progress(share)

    return idle
