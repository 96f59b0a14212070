"""Loads the models of an engine in a process of its own."""

from __future__ import annotations

import logging
import os
import queue
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from specbranch_cpp import _core, policies
from specbranch_cpp._engine.loading import Loaded
from specbranch_cpp._isolated.plain_values import plain
from specbranch_cpp._isolated.process import EngineProcess
from specbranch_cpp._isolated.remote_core import RemoteCore
from specbranch_cpp._pair.hrad_weights import PairFiles, check_pair
from specbranch_cpp._support import checked, logs
from specbranch_cpp._support.raised import start_thread
from specbranch_cpp._support.system import can_pass_sockets
from specbranch_cpp._support.tensor_source import source_of
from specbranch_cpp.errors import EngineClosed, EngineDied, InvalidArgument, ModelLoadError
from specbranch_cpp.results import LoraAdapter, ModelPlacement, PairPlacement

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp._engine.load_options import LoadOptions
    from specbranch_cpp._engine.model_options import ModelArgument

__all__ = ["isolated_loader"]


def isolated_loader(
    options: LoadOptions, isolate: bool, timeout_s: float | None
) -> Callable[..., Loaded] | None:
    """What loads the models in another process. ``None``: they are loaded in this one.

    Raises:
        InvalidArgument: ``timeout_s``, which is `Engine`'s ``isolate_timeout``, is not above 0, or
            there is no process that it could end.
    """
    if not checked.flag("isolate", isolate) and not options.rpc_servers:
        if timeout_s is not None:
            raise InvalidArgument(f"isolate_timeout is {timeout_s!r}, but isolate is False")
        return None
    if timeout_s is not None and not checked.real("isolate_timeout", timeout_s) > 0:
        raise InvalidArgument(f"isolate_timeout is {timeout_s!r}; it must be above 0")
    if not can_pass_sockets():
        raise InvalidArgument(
            "isolate is True or rpc_servers is given, but on this system an engine cannot run in a "
            "process of its own"
        )
    return partial(_load_isolated, options, _folder_of(options), timeout_s)


def _folder_of(options: LoadOptions) -> str:
    """The folder to which the relative paths of the options belong, also in a restart.

    Raises:
        ModelLoadError: it was removed.
    """
    paths = [*_names(options), *(os.fsdecode(path) for path, _ in options.adapters)]
    if all(Path(path).is_absolute() for path in paths):
        return "/"
    try:
        return str(Path.cwd())
    except OSError as error:
        raise ModelLoadError(
            f"{' and '.join(_names(options))}: the working folder is lost: {error.strerror}"
        ) from None


def _load_isolated(
    options: LoadOptions,
    folder: str,
    timeout_s: float | None,
    progress: Callable[[float], object] | None = None,
) -> Loaded:
    """The same as `_engine.loading.load`, in another process.

    ``folder``: the one to which relative paths belong.
    ``timeout_s``: see `EngineProcess`.

    Raises:
        ModelLoadError: the process has ended while it loaded the models. Others as in `Engine`.
    """
    for side in options.sides:
        if source_of(side.model.path) is not None:
            raise InvalidArgument(
                f"the weights of the {side.role} are in the memory of this process; isolate must "
                "be False, and rpc_servers must be None, for this model"
            )
    if options.verbose:
        logs.show()
    process = EngineProcess(timeout_s, [str(each) for each in options.rpc_servers])
    try:
        facts = _load(process, options, folder, progress)
        try:
            core = cast("_core.Engine", RemoteCore(process, facts))
            return _loaded(core, options, folder, facts)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelLoadError(
                f"[Engine] the process of this engine sent what no engine sends ({error!r})"
            ) from None
    except EngineDied as died:
        message = str(died).removesuffix("; a new engine can be made")
        raise ModelLoadError(f"{message}; it was loading {' and '.join(_names(options))}") from None
    except BaseException:
        process.kill()
        process.close(EngineClosed("[Engine] the engine was not loaded"))
        raise


def _load(
    process: EngineProcess,
    options: LoadOptions,
    folder: str,
    progress: Callable[[float], object] | None,
) -> dict[str, Any]:
    """Sends the options, and calls ``progress`` on this thread until the models are loaded."""
    shares: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    process.on_progress = shares.put
    found: list[Any] = []

    def call() -> None:
        level = logging.getLogger("specbranch_cpp").getEffectiveLevel()
        try:
            found.append(process.call("load", folder, level, _portable(options)))
        except Exception as error:  # noqa: BLE001, it is raised below
            found.append(error)
        shares.put(None)

    start_thread(threading.Thread(target=call, daemon=True))
    while (share := shares.get()) is not None:
        if progress is not None:
            progress(share)
    process.wait_for_log()
    (answer,) = found
    if isinstance(answer, Exception):
        raise answer
    return cast("dict[str, Any]", answer)


def _portable(options: LoadOptions) -> LoadOptions:
    """The options without objects of the caller. Policies stay in this process."""
    made: LoadOptions = plain(options)
    said, draft = made.speculation, made.draft
    return replace(
        made,
        target=_with_name(made.target),
        draft=None if draft is None else _with_name(draft),
        speculation=replace(said, value=replace(said.value, policy=None)),
        trusted=True,  # the process is the trial
        verbose=False,  # this process shows the lines
    )


def _with_name(side: ModelArgument) -> ModelArgument:
    return replace(side, model=replace(side.model, path=plain(os.fsdecode(side.model.path))))


def _names(options: LoadOptions) -> list[str]:
    return [os.fsdecode(side.model.path) for side in options.sides]


def _loaded(core: _core.Engine, options: LoadOptions, folder: str, facts: dict[str, Any]) -> Loaded:
    adapters = tuple(LoraAdapter(**vars(one)) for one in facts["described_adapters"])
    defaults = options.final_defaults(adapters, can_speculate=core.can_speculate)
    names = _names(options)
    pair = key = None
    if options.draft is not None:
        pair = PairFiles(*(str(Path(folder, name)) for name in names))
        key = cast("RemoteCore", core).key
    policy = defaults.policy
    if isinstance(policy, policies.HRAD) and defaults.mode != "autoregressive":
        check_pair(policy._file, core, pair)
    placement = facts["placement"]
    if placement is not None:
        placement = _placement(placement)
    return Loaded(core, defaults, names, pair, key, options.profile, placement)


def _placement(found: Any) -> PairPlacement:
    sides = {name: getattr(found, name) for name in ("target", "draft")}
    made = {
        name: None if side is None else ModelPlacement(**vars(side)) for name, side in sides.items()
    }
    return PairPlacement(**{**vars(found), **made})
