"""Clients that each send the next request when they have the answer to the last one.

Whom they ask is left to the caller: an engine of this process, or a server.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Answer", "Waits", "ask_all"]


@dataclass(frozen=True)
class Answer:
    """What a client notices of one request.

    Attributes:
        times: when it was sent, and when each token came; seconds of `time.monotonic`.
        n_tokens: tokens of the text.
        n_drafted: drafted tokens.
        n_accepted: drafted tokens that became text.
    """

    times: Sequence[float]
    n_tokens: int
    n_drafted: int
    n_accepted: int


@dataclass(frozen=True)
class Waits:
    """All requests of a crowd, once. Times are in seconds.

    Attributes:
        seconds: from the first request to the last token.
        n_tokens: tokens of all texts.
        first_s: from each request to its first token, with its time in the queue.
        between_s: between two tokens of a text, as the client gets them. Tokens of one verification
            come at once.
        longest_s: the longest of these of each text.
        n_drafted: drafted tokens.
        n_accepted: drafted tokens that became text.
    """

    seconds: float
    n_tokens: int
    first_s: tuple[float, ...]
    between_s: tuple[float, ...]
    longest_s: tuple[float, ...]
    n_drafted: int
    n_accepted: int


def ask_all(n_clients: int, n_requests: int, ask: Callable[[int], Answer]) -> Waits:
    """Sends all requests, in their order, and waits for all answers.

    Args:
        n_clients: number of clients, each with a thread of its own.
        n_requests: number of requests.
        ask: sends the request of this number, from 0, and reads its answer; on several threads at
            once.

    Raises:
        Exception: the first error of ``ask``. The other clients send nothing more then.
    """
    return _Crowd(n_clients, n_requests, ask).run()


class _Crowd:
    def __init__(self, n_clients: int, n_requests: int, ask: Callable[[int], Answer]) -> None:
        self._n_clients = n_clients
        self._ask = ask
        self._waiting = deque(range(n_requests))
        self._answers: list[Answer] = []  # appending needs no lock
        self._errors: list[BaseException] = []

    def run(self) -> Waits:
        ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        begin = time.monotonic()
        try:
            for _ in range(self._n_clients):
                threading.Thread(
                    target=self._client, args=(ended,), name="specbranch-client", daemon=True
                ).start()
            for _ in range(self._n_clients):
                ended.get()
        except BaseException:
            self._waiting.clear()  # closing the engine or the server ends what runs
            raise
        seconds = time.monotonic() - begin
        if self._errors:
            raise self._errors[0]
        return _waits(self._answers, seconds)

    def _client(self, ended: queue.SimpleQueue[None]) -> None:
        try:
            while True:
                try:
                    number = self._waiting.popleft()
                except IndexError:
                    return
                self._answers.append(self._ask(number))
        except BaseException as error:  # noqa: BLE001, `run` raises it
            self._errors.append(error)
            self._waiting.clear()
        finally:
            ended.put(None)


def _waits(answers: Sequence[Answer], seconds: float) -> Waits:
    gaps = [
        [round(after - before, 6) for before, after in pairwise(answer.times)] for answer in answers
    ]
    return Waits(
        seconds=seconds,
        n_tokens=sum(answer.n_tokens for answer in answers),
        first_s=tuple(first for first, *_ in gaps),
        between_s=tuple(gap for _, *between in gaps for gap in between),
        longest_s=tuple(max(between) for _, *between in gaps if between),
        n_drafted=sum(answer.n_drafted for answer in answers),
        n_accepted=sum(answer.n_accepted for answer in answers),
    )
