"""The end of an engine, and what is told when a generation ends."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine import running_loads
from specbranch_cpp._engine.measurements import Measurements
from specbranch_cpp._support import logs
from specbranch_cpp.errors import EngineClosed, EngineDied, InvalidArgument

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from specbranch_cpp._engine.loading import Loaded
    from specbranch_cpp.generation import Shared
    from specbranch_cpp.results import GenerationStats

__all__ = ["Lifetime"]

_live: weakref.WeakSet[Lifetime] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Ends all threads in C++, so that none comes back when the interpreter has shut down."""
    running_loads.stop_all()
    _close_all()


def _close_all() -> None:
    """Closes all engines.

    An engine that cannot be closed keeps no other one open. Python prints the first error.
    """
    errors: list[BaseException] = []
    for engine in list(_live):
        try:
            engine.close()
        except BaseException as error:  # noqa: BLE001, it is raised below
            errors.append(error)
    if errors:
        raise errors[0]


class Lifetime(Measurements):
    """The part of `Engine` that ends it, after a last look at its measurements."""

    _shared: Shared
    _profile_path: str | None
    _reload: Callable[..., Loaded] | None = None
    """Loads the models of an isolated engine again."""
    _death_listener: Callable[[EngineDied], object] | None = None
    _is_ended = False
    """`close` was called."""

    def _begin(
        self,
        load: Callable[[], Loaded],
        shared: Shared,
        seeds: random.Random,
        chat_template: str | None = None,
    ) -> None:
        """Loads the models. The engine lives from now on, in this process."""
        try:
            self._set_parts(load(), shared, seeds, chat_template)
        finally:
            running_loads.end()

    def _set_parts(
        self, loaded: Loaded, shared: Shared, seeds: random.Random, chat_template: str | None
    ) -> None:
        self._core = loaded.core
        self._defaults = loaded.defaults
        self._seeds = seeds
        self._names = loaded.names
        self._pair = loaded.pair
        self._shared = shared
        self._key = loaded.key
        self._profile_path = loaded.profile
        self._placement = loaded.placement
        self._chat_template = chat_template
        self._pid = os.getpid()
        self._end_lock = threading.RLock()  # a signal handler may close
        _live.add(self)

    def on_end(self, listener: Callable[[GenerationStats], object]) -> None:
        """Calls ``listener`` with the statistics of each generation that ends from now on.

        The call comes once for each generation, also for a cancelled generation, in the thread that
        reads the end of the text. It does not come for a generation that fails, or whose end nobody
        reads. The listener must not raise an exception.

        Raises:
            InvalidArgument: the listener cannot be called.
        """
        if not callable(listener):
            raise InvalidArgument(f"listener is {listener!r}; it must be callable")
        self._shared.listeners.append(listener)

    def _on_death(self, listener: Callable[[EngineDied], object]) -> None:
        """Calls ``listener``, on any thread, when the process of an isolated engine has ended by
        itself; also a process that `restart` has started. It must not raise an exception.
        """
        self._death_listener = listener
        self._watch()

    def _watch(self) -> None:
        if self._reload is not None and self._death_listener is not None:
            core: Any = self._core
            core.on_death(self._death_listener)

    def restart(self) -> None:
        """Loads the models again after `EngineDied`, in a new process.

        What has this engine can go on with it; the listeners of `on_end` stay. The texts that have
        failed stay so, and what was measured since the engine was loaded is lost. If the process
        lives, this does nothing.

        Raises:
            InvalidArgument: the engine is not isolated.
            EngineClosed: `close` was called, also by a signal handler meanwhile; or this process is
                a fork.
            ModelLoadError: or another error of `Engine`: the models cannot be loaded now.
        """
        if self._reload is None:
            raise InvalidArgument(
                "only an engine with isolate=True or rpc_servers can be restarted"
            )
        closed = EngineClosed("[Engine] the engine is closed")
        if os.getpid() != self._pid:  # a thread of the parent may hold the lock
            raise closed
        with self._end_lock:
            if not self._core.closed:
                return
            loaded = None if self._is_ended else self._reload()
            if loaded is None:
                raise closed
            if self._is_ended:  # a signal handler has closed the engine meanwhile
                loaded.core.close()
                raise closed
            self._core, self._key, self._placement = loaded.core, loaded.key, loaded.placement
            self._watch()

    @property
    def closed(self) -> bool:
        """True after `close`, after `EngineDied`, and in a forked child of the process that created
        the engine."""
        return self._core.closed

    def close(self) -> None:
        """Cancels all generations, waits for the threads, and frees the models.

        The engine cannot be used afterwards. Cancelled generations have the ``finish_reason``
        ``"cancelled"``; you can still read the text that they generated. If the engine has a
        ``profile`` path, `close` writes the profile; if this fails, the engine logs a warning. A
        second `close` does nothing.
        """
        if os.getpid() != self._pid:  # a forked child must not touch state of the parent's threads
            return
        core: Any = self._core
        if self._reload is not None and core.is_inside:  # a finalizer; the lock may be taken
            self._is_ended = True
            core.close()
            return
        with self._end_lock:
            self._is_ended = True
            self._core.close()
            logs.forward()
            path, self._profile_path = self._profile_path, None
        if path is not None:
            try:
                self.save_profile(path)
            except OSError as error:
                logs.PROFILES.warning(
                    "profile %r was not written: %s", path, error.strerror or error
                )
            except EngineDied as error:
                logs.PROFILES.warning("profile %r was not written: %s", path, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
