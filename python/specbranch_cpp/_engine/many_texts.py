"""`Engine.generate_many`: several prompts, as many at once as the engine can."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine.keywords import Named, generate_request
from specbranch_cpp._engine.request import MAX_SEED
from specbranch_cpp._engine.text_engine import GenerateKeywords, TextEngine
from specbranch_cpp._support import checked
from specbranch_cpp._support.raised import start_thread
from specbranch_cpp._support.short_waits import WAIT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Unpack

    from specbranch_cpp._engine.request import TextRequest
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.results import Completion

__all__ = ["ManyTexts", "TextBatch"]


class ManyTexts(TextEngine):
    """The part of `Engine` that generates several texts in one call."""

    def generate_many(
        self, prompts: Sequence[str | Sequence[int]], **options: Unpack[GenerateKeywords]
    ) -> list[Completion]:
        """Generates a text after each prompt and returns the results in the order of the prompts.

        ``n_parallel`` texts run at once; the next one begins when one of them ends. With
        ``n_parallel=1`` they run one after another. Calls of other threads come in between.

        Text i is that of ``complete(prompts[i], seed=seed + i)``, modulo 2^64. Without a ``seed``,
        the engine draws a seed for each text, in the order of the prompts, and ``stats.seed``
        contains it.

        All arguments are checked before a text begins. If a text fails, the others are cancelled,
        and the call raises the error when all have ended; of several errors that of the first
        prompt. Ctrl-C cancels all texts, too. In both cases no result is returned, and the engine
        stays usable unless the error says otherwise.

        Args:
            prompts: texts or token ids, as for `generate`. There may be none.
            **options: the keywords of `Engine.generate`, with its defaults; they hold for all
                texts. A policy and functions in Python are called for several texts in turn or at
                the same time, so they must not keep what belongs to one text.

        Raises:
            InvalidArgument: an argument has the wrong type or is out of its range. The message
                names a wrong prompt with its index, such as ``prompts[2]``.
            ContextOverflow: a prompt leaves no room in the context.
            DecodeError: a forward pass of the target failed; other errors are those of
                `Generation.result`.
        """
        return TextBatch(self, prompts, options).results()


class TextBatch:
    """The texts of one call, checked and not yet queued.

    *Thread safety*: any thread may call `cancel`; one thread calls `results`, once.

    Args:
        engine: the engine.
        prompts: the prompts.
        options: keywords of `Engine.generate`.

    Raises:
        InvalidArgument: or another error of `Engine.generate`.
        TypeError: there is no such keyword.
    """

    def __init__(
        self,
        engine: TextEngine,
        prompts: Sequence[str | Sequence[int]],
        options: GenerateKeywords,
    ) -> None:
        for name in options:
            if name not in GenerateKeywords.__annotations__:
                raise TypeError(f"generate_many() got an unexpected keyword argument {name!r}")
        # Every text reads the options.
        lasting: Any = {name: checked.lasting(value) for name, value in options.items()}
        asked = generate_request(prompts, **lasting)  # type: ignore[arg-type]
        self._engine = engine
        requests = [engine._checked(one) for one in _texts(asked)]
        self._n = len(requests)
        self._waiting = iter(enumerate(requests))
        self._running: dict[int, Generation] = {}
        self._done: dict[int, Completion] = {}
        self._errors: dict[int, BaseException] = {}
        self._lock = threading.Lock()
        self._cancelled = False

    def results(self) -> list[Completion]:
        """Generates the texts and waits for all of them. After a `cancel`: for those that began.

        Raises:
            SpecBranchError: or another error of `Generation.result`, when all texts have ended.
        """
        self._engine._shared.check_reader()
        ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        # One text more than can run waits in the engine's queue, so that the engine never waits for
        # this code.
        n_readers = min(self._n, self._engine.n_parallel + 1)
        try:
            for _ in range(n_readers):
                thread = threading.Thread(
                    target=self._read, args=(ended,), name="specbranch-many", daemon=True
                )
                start_thread(thread)
            for _ in range(n_readers):
                _wait_for(ended)
        except BaseException:
            self.cancel()
            raise
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._done[index] for index in sorted(self._done)]

    def cancel(self) -> None:
        """Stops the texts that run within one forward pass. No further text begins."""
        with self._lock:
            self._cancelled = True
            running = [*self._running.values()]
        for generation in running:
            generation.cancel()

    def _read(self, ended: queue.SimpleQueue[None]) -> None:
        """Queues and reads texts until there are no more.

        A policy in Python is asked by the thread that reads, so each text that runs has a reader.
        """
        index = 0
        try:
            while True:
                with self._lock:
                    if self._cancelled:
                        return
                    index, request = next(self._waiting, (self._n, None))
                    if request is None:
                        return
                    generation = self._running[index] = self._engine._queue(request)
                self._done[index] = generation.result()
                with self._lock:
                    del self._running[index]
        except BaseException as error:  # noqa: BLE001, `results` raises it
            # The core checks the ranges of the options, which are those of all texts: if it refuses
            # the first text, none begins.
            self._errors[index] = error
            self.cancel()
        finally:
            ended.put(None)


def _wait_for(ended: queue.SimpleQueue[None]) -> None:
    """Waits for one reader, in short waits."""
    while True:
        try:
            return ended.get(timeout=WAIT_S)
        except queue.Empty:
            continue


def _texts(asked: TextRequest) -> Iterator[TextRequest]:
    """The request of each text, from one whose prompt is the sequence of prompts."""
    sampling = asked.sampling
    seed = sampling.value.seed
    if seed is not None:
        seed = checked.integer(f"{sampling.prefix}seed", seed, 0, MAX_SEED)
    for index, prompt in checked.items("prompts", asked.prompt):
        if seed is not None:
            own_seed = (seed + index) % (MAX_SEED + 1)
            sampling = Named(replace(asked.sampling.value, seed=own_seed), sampling.prefix)
        yield replace(asked, prompt=prompt, prompt_name=f"prompts[{index}]", sampling=sampling)
