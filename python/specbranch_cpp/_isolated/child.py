"""The program of the process in which an isolated engine runs."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from specbranch_cpp._isolated.errors_across import described
from specbranch_cpp._isolated.frames import read_order, write_data
from specbranch_cpp._isolated.recorded_request import replayed
from specbranch_cpp._isolated.remote_core import FACTS
from specbranch_cpp._isolated.served_text import ServedText
from specbranch_cpp._support import logs
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from specbranch_cpp._engine.load_options import LoadOptions
    from specbranch_cpp._engine.loading import Loaded
    from specbranch_cpp._isolated.recorded_request import Step

__all__ = ["main"]

_TEXT_ORDERS = frozenset({"reading", "serving", "refuse", "cancel"})
"""Orders for a text: methods of `ServedText`. The first argument is its number."""
_LONG = frozenset({"pieces", "ends", "profile", "trace", "scores"})
"""Calls that may take long, in any order with the others."""
_SHORT = 16384  # bytes, or tokens
_REPORT_S = 0.5
_END_S = 10.0  # the texts of an engine that closes are sent within this time


class Connection:
    """The way to the caller's process. Any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()

    def send(self, *message: Any) -> None:
        """Sends a message. If the caller's process is gone, it does nothing."""
        with self._lock, contextlib.suppress(OSError):
            write_data(self._socket, list(message))


class _Log(logging.Handler):
    """Sends the lines of the log."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send("log", record.name, record.levelno, record.getMessage())


class OrderServer:
    """Does what the caller's process says. `obey` is for one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loaded: Loaded | None = None
        self._texts: dict[int, ServedText] = {}
        # Calls that compute. Orders for texts must not wait for them.
        self._computing: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        threading.Thread(target=self._compute, name="specbranch-calls", daemon=True).start()

    def obey(self, order: tuple[Any, ...]) -> None:
        """Carries out an order. ``("call", n, name, ...)`` is answered, others are not."""
        kind, *rest = order
        if kind == "call" and _is_long(*rest[1:]):
            self._computing.put(tuple(rest))
        elif kind == "call":
            self._answer(*rest)
        elif kind in _TEXT_ORDERS:
            number, *arguments = rest
            text = self._texts.get(number)
            if text is not None:  # otherwise nobody reads it any more
                getattr(text, kind)(*arguments)
        else:
            getattr(self, f"_on_{kind}")(*rest)

    def _compute(self) -> None:
        while True:
            self._answer(*self._computing.get())

    def _answer(self, number: int, name: str, *arguments: Any) -> None:
        try:
            answer = getattr(self, f"_call_{name}")(*arguments)
        except BaseException as error:  # noqa: BLE001, the caller's process raises it
            logs.forward()
            self._connection.send("error", number, described(error))
        else:
            self._connection.send("answer", number, answer)

    def _call_unreadable(self, why: str) -> None:
        raise InvalidArgument(f"an argument cannot be read in another process: {why}")

    def _call_load(self, folder: str, level: int, options: LoadOptions) -> dict[str, Any]:
        # The process begins in "/", where no file can take the place of a module.
        os.chdir(folder)
        logging.getLogger("specbranch_cpp").setLevel(level)
        from specbranch_cpp._engine.loading import load

        loaded = self._loaded = load(options, self._progress)
        core = loaded.core
        return {
            **{name: getattr(core, name) for name in FACTS},
            "names": loaded.names,
            "described_adapters": loaded.defaults.adapters,
            "placement": loaded.placement,
        }

    def _progress(self, share: float) -> None:
        self._connection.send("progress", share)

    @property
    def _core(self) -> Any:
        assert self._loaded is not None
        return self._loaded.core

    def _call_tokenize(self, text: bytes, add_special: bool, parse_special: bool) -> bytes:
        from array import array

        found = self._core.tokenize(text, add_special=add_special, parse_special=parse_special)
        return array("i", found).tobytes()

    def _call_detokenize(self, tokens: list[int], special: bool) -> bytes:
        found: bytes = self._core.detokenize(tokens, special=special)
        return found

    def _call_pieces(self, special: bool) -> list[bytes]:
        """The bytes of all tokens."""
        core = self._core
        return [core.detokenize([token], special=special) for token in range(core.n_vocab)]

    def _call_ends(self) -> list[int]:
        """The tokens that end a text."""
        core = self._core
        return [token for token in range(core.n_vocab) if core.is_end(token)]

    def _call_profile(self) -> list[Any]:
        assert self._loaded is not None
        key = None if self._loaded.key is None else self._loaded.key()
        return [key, self._core.profile]

    def _call_generate(
        self, number: int, steps: list[Step], functions: tuple[bool, bool] | None
    ) -> None:
        request = self._core.new_request()
        replayed(steps, request)
        channel = None
        if functions is not None:
            masks, rows = functions
            channel = request.new_channel(masks=masks, rows=rows)
        self._texts[number] = ServedText(
            number,
            self._core,
            request,
            channel=channel,
            send=self._connection.send,
        )

    def _call_plan(self, number: int, *plan: int) -> None:
        self._texts[number].plan(*plan)

    def _call_task(self, number: int, *answer: Any) -> None:
        text = self._texts.get(number)
        if text is not None:  # otherwise nobody reads it any more
            text.answer_task(*answer)

    def _call_trace(self, number: int, n_spans: int, n_rounds: int) -> Any:
        return self._texts[number].core.trace_since(n_spans, n_rounds)

    def _call_prefilled(self, number: int) -> int:
        found: int = self._texts[number].core.n_prefilled
        return found

    def _call_scores(self, number: int) -> Any:
        return self._texts[number].core.prompt_scores

    def _call_close(self) -> list[Any]:
        core = self._core
        core.close()
        for text in self._texts.values():
            text.end()
        end = time.monotonic() + _END_S
        for text in self._texts.values():
            text.join(max(0.0, end - time.monotonic()))
        logs.forward()
        return [core.stats, *self._call_profile()]

    def _on_report(self) -> None:
        # Not the thread that watches the parent: the engine might never answer.
        threading.Thread(target=self._report, name="specbranch-report", daemon=True).start()

    def _report(self) -> None:
        """Says that prompts are read, as long as they are. Tokens speak for themselves."""
        seen: dict[int, int] = {}
        while True:
            time.sleep(_REPORT_S)
            read = {number: text.core.n_prefilled for number, text in [*self._texts.items()]}
            if read != seen:
                self._connection.send("working")
            seen = read

    def _on_drop(self, number: int) -> None:
        text = self._texts.pop(number, None)
        if text is not None:
            text.cancel()
            text.end()


def _is_long(name: str, *arguments: Any) -> bool:
    """Whether a call may take long, and may be carried out later than other orders."""
    if name in ("tokenize", "detokenize"):
        return len(arguments[0]) > _SHORT
    return name in _LONG


def _watch(parent: int) -> None:
    """Ends this process soon after that of the caller, which may have left a fork with the socket.

    It also sends the log's lines, in case that llama.cpp ends this process.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
        logs.forward()
    os._exit(0)


def main() -> None:
    """Serves until the caller's process closes the connection."""
    number, parent = int(sys.argv[1]), int(sys.argv[2])
    for ignored in (signal.SIGINT, signal.SIGTERM):  # they are for the process of the caller
        signal.signal(ignored, signal.SIG_IGN)
    with socket.socket(fileno=number) as accepted:
        connection = Connection(accepted)
        logging.getLogger("specbranch_cpp").addHandler(_Log(connection))
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
        server = OrderServer(connection)
        with accepted.makefile("rb") as stream:
            while (order := read_order(stream)) is not None:
                server.obey(order)
    os._exit(0)  # without destructors: the system frees the memory, and nobody waits
