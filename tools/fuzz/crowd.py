"""Several clients of one engine in a forked process, and the parent that watches them.

The parent knows which cases run. If the process ends, or a case takes too long, these cases are
failures, and the next process goes on with the other ones.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fuzz.findings import Failure
from fuzz.forked import Forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from fuzz.findings import Findings
    from fuzz.forked import Say

__all__ = ["BrokenPromiseError", "Caller", "Crowd"]

_BEGIN, _END, _FAILURE = "begin", "end", "failure"
_LOADING = -1
_SHORT = 500
_IDLE = 0.02  # share of a processor below which a process waits for something
_BUSY = 2.0  # processors that the threads of a case keep busy


class BrokenPromiseError(Exception):
    """A case had a result that the documents do not allow."""


class Caller(Protocol):
    """What makes the requests of a run."""

    def call(self, index: int) -> str:
        """Runs a case and returns its outcome.

        Raises:
            BrokenPromiseError: the outcome is a failure.
        """

    def known_text(self) -> str:
        """A text that has to be the same every time."""

    def describe(self, index: int) -> str:
        """The case in words; needs no engine."""


class Crowd:
    """Runs cases in processes of several threads.

    Args:
        open_caller: makes the caller in the forked process.
        describe: a case in words.
        findings: gets the counts and the failures.
        seed: the seed of the cases.
        n_clients: the number of threads.
        limit_s: seconds that a case may take. On a machine that is busy with other programs, a case
            may take longer, as long as the process gets little processor time.
        known_every: the number of cases between two looks at the known text.
    """

    def __init__(
        self,
        open_caller: Callable[[], AbstractContextManager[Caller]],
        describe: Callable[[int], str],
        findings: Findings,
        seed: int,
        *,
        n_clients: int = 4,
        limit_s: float = 20.0,
        known_every: int = 50,
    ) -> None:
        self._open_caller = open_caller
        self._describe = describe
        self._findings = findings
        self._seed = seed
        self._n_clients = n_clients
        self._limit_s = limit_s
        self._known_every = known_every

    def run(self, indices: Sequence[int], until: float = float("inf")) -> None:
        """`until`: the time of `time.monotonic` at which the run ends."""
        left = list(indices)
        while left and time.monotonic() < until:
            begun = self._run_process(left, until)
            left = [index for index in left if index not in begun]

    def _run_process(self, indices: list[int], until: float) -> set[int]:
        """Returns the cases that have begun."""
        process = Forked(lambda say: self._serve(indices, until, say))
        begun: set[int] = set()
        running = {_LOADING: _Moment(0.0)}
        while True:
            for what, index, words in process.read(0.5):
                if what == _BEGIN:
                    begun.add(index)
                    running[index] = _Moment(process.cpu_s())
                    continue
                running.pop(index, None)
                self._count(what, index, words)
            if process.ended:
                break
            used = process.cpu_s()
            late = [i for i, began in running.items() if began.is_long_ago(used, self._limit_s)]
            if late:
                self._fail_all(late, f"no end within {self._limit_s:.0f} s", "")
                process.end()
                return begun | set(indices[:1])
        end = process.end()
        self._findings.peak_bytes = max(self._findings.peak_bytes, end.peak_bytes)
        if end.code != 0 or running:
            self._fail_all(sorted(running) or [_LOADING], end.how, end.stderr[-_SHORT:])
            begun |= set(indices[:1])
        return begun

    def _count(self, what: str, index: int, words: str) -> None:
        if what == _FAILURE:
            self._fail_all([index], "a broken promise", words)
        elif index != _LOADING:
            self._findings.n_cases += 1
            self._findings.counts[words] += 1

    def _fail_all(self, indices: list[int], what: str, words: str) -> None:
        for index in indices:
            self._findings.n_cases += 1
            self._findings.counts["FAILURE"] += 1
            shown = "loading or the known text" if index == _LOADING else self._describe(index)
            self._findings.fail(Failure(self._seed, index, what, shown, words))

    def _serve(self, indices: list[int], until: float, say: Say) -> None:
        """The program of the process."""
        with self._open_caller() as caller:
            known = caller.known_text()
            say([_END, _LOADING, ""])
            waiting = _Shared(indices)

            def check_known() -> None:
                if (text := caller.known_text()) != known:
                    words = f"the known text was {known!r} and is {text!r}"
                    say([_FAILURE, _LOADING, ascii(words)[:_SHORT]])

            def client() -> None:
                for place, index in waiting:
                    if time.monotonic() > until:
                        return
                    say([_BEGIN, index, ""])
                    try:
                        say([_END, index, caller.call(index)])
                    except Exception as error:  # noqa: BLE001 - also a fault of the fuzzer
                        words = f"{type(error).__name__}: {error}"
                        say([_FAILURE, index, ascii(words)[:_SHORT]])
                    if place % self._known_every == 0:
                        check_known()

            threads = [threading.Thread(target=client) for _ in range(self._n_clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            check_known()


@dataclass(frozen=True)
class _Moment:
    """When a case began: the processor time of its process, and the time."""

    cpu_s: float
    time: float = field(default_factory=time.monotonic)

    def is_long_ago(self, cpu_s: float, limit_s: float) -> bool:
        """Whether the time is over, and the process either waits or has computed for as long."""
        passed, used = time.monotonic() - self.time, cpu_s - self.cpu_s
        return passed > limit_s and (used < _IDLE * passed or used > _BUSY * limit_s)


class _Shared:
    """A list that several threads take from."""

    def __init__(self, indices: list[int]) -> None:
        self._places = iter(enumerate(indices))
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        while True:
            with self._lock:
                taken = next(self._places, None)
            if taken is None:
                return
            yield taken
