"""A progress bar for reading the prompt, on a terminal."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from specbranch_cpp.cli import render
from specbranch_cpp.errors import SpecBranchError

if TYPE_CHECKING:
    from rich.console import Console

    from specbranch_cpp.generation import Generation

_PATIENCE = 0.5  # seconds until the bar appears
_PERIOD = 0.1


class PrefillBar:
    """Shows a progress bar from half a second after the start until `stop`.

    Without a terminal it shows nothing.

    Args:
        generation: the generation that reads its prompt.
        console: console for the bar. ``None`` (default): standard error.
        patience: seconds until the bar appears.
    """

    def __init__(
        self, generation: Generation, console: Console | None = None, patience: float = _PATIENCE
    ) -> None:
        self._generation = generation
        self._console = console or render.stderr()
        self._patience = patience
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        if self._console.is_terminal:
            thread = threading.Thread(target=self._show, daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: no bar
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Removes the bar. A second call does nothing."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _show(self) -> None:
        if self._stopped.wait(self._patience):
            return
        columns = (TextColumn("reading the prompt"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=self._generation.n_prompt)
            while True:
                try:
                    n_read = self._generation.n_prefilled
                except SpecBranchError:  # who reads the text raises it
                    return
                progress.update(task, completed=n_read)
                if self._stopped.wait(_PERIOD):
                    return
