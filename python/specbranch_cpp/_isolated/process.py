"""The process of an isolated engine, as the process of the caller sees it."""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import os
import queue
import signal
import socket
import subprocess
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from specbranch_cpp._isolated.errors_across import again, raised_again
from specbranch_cpp._isolated.frames import read_data, write_order
from specbranch_cpp._isolated.log_lines import LogLines
from specbranch_cpp._llama.child import can_start, child_environment, interpreter
from specbranch_cpp._support.raised import start_thread
from specbranch_cpp._support.silence import SilenceWatch
from specbranch_cpp._support.wakeups import Wakeup
from specbranch_cpp.errors import (
    EngineClosed,
    EngineDied,
    InvalidArgument,
    SpecBranchError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CLOSED", "EngineProcess", "Mailbox"]

CLOSED = "[Engine] the engine is closed, or was made before this process was forked"

_CHILD = "from specbranch_cpp._isolated.child import main; main()"
_END_S = 5.0  # a process whose connection has ended ends within this time, or is killed
_FIRST_NUMBER = 3  # of a file; those below are the standard streams
_N_LINES = 20
_LOGGER = "specbranch_cpp"


class Mailbox(Protocol):
    """Gets the messages about one generation, on the thread of the connection."""

    def put(self, kind: str, *message: Any) -> None:
        """A message has come."""

    def end(self, error: SpecBranchError) -> None:
        """No message comes any more."""

    @property
    def ended(self) -> bool:
        """Whether no message is expected any more."""

    @property
    def waits_for_caller(self) -> bool:
        """Whether the process waits for an answer of a function of this program."""


class _Call:
    """A question to the engine's process, and its answer."""

    def __init__(self) -> None:
        self.done = Wakeup()
        self.answer: Any = None
        self.error: Exception | None = None


class EngineProcess:
    """Starts the process, sends orders, and passes on what comes.

    *Thread safety*: any thread may call every method, also a signal handler or a finalizer at any
    place; so there is no lock. Four threads work for it: one sends, so that no caller waits for a
    busy process; one receives; one logs; one keeps the last lines of standard error. Finalizers run
    on these threads, too. There `call` raises an exception, because nobody could bring the answer.

    Args:
        timeout_s: seconds after which a process that has work, and gives no sign of it, is ended.
            ``None`` (default): never.
        hosts: other hosts on which the process depends, for messages.

    Raises:
        SpecBranchError: the process, or a thread, cannot be started.
    """

    def __init__(self, timeout_s: float | None = None, hosts: Sequence[str] = ()) -> None:
        if not can_start():
            raise SpecBranchError(
                "isolate is True, but there is no Python interpreter to start (sys.executable)"
            )
        self.on_progress: Callable[[float], object] = lambda _: None
        self._hosts = f"; it used devices of {', '.join(hosts)}" if hosts else ""
        self._pid = os.getpid()
        self._numbers = itertools.count()
        self._orders: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._calls: dict[int, _Call] = {}
        self._mailboxes: dict[int, Mailbox] = {}
        self._lines: collections.deque[str] = collections.deque(maxlen=_N_LINES)
        self._over: SpecBranchError | None = None  # what every later call raises
        self._death_listeners: collections.deque[Callable[[EngineDied], object]]
        self._death_listeners = collections.deque(maxlen=1)
        self._closing = False
        self._hang = ""  # why this program has ended the process
        self._has_sign = False  # something came since the last look of the watch
        self._silence: SilenceWatch | None = None
        if timeout_s is not None:
            self._silence = SilenceWatch(
                timeout_s, self._is_silent, partial(self._end_hang, timeout_s)
            )
        try:
            ours, theirs = map(_above_streams, socket.socketpair())
            try:
                self._child = _start(theirs)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
        except OSError as error:
            raise SpecBranchError(
                f"the process of the engine could not be started: {error.strerror}"
            ) from None
        self._socket = ours
        self._reader = threading.Thread(target=self._receive, name="specbranch-process")
        others = [
            threading.Thread(target=self._deliver, name="specbranch-orders"),
            threading.Thread(target=self._keep_lines, name="specbranch-lines"),
        ]
        self._lines_thread = others[1]
        self._own_threads = (self._reader, *others)
        self._log = LogLines()
        try:
            for thread in self._own_threads:
                thread.daemon = True
                start_thread(thread)
            self._log.start()
            if self._silence is not None:
                self.send("report")
                self._silence.start()
        except BaseException:
            self._child.kill()
            self._child.wait()
            self._log.end()
            self._close_unread()
            raise

    @property
    def process_id(self) -> int:
        """The number of the process."""
        return self._child.pid

    @property
    def is_over(self) -> bool:
        """Whether the process has ended, or this process is a fork of the one that started it."""
        # The last lines may come late, and a restart must not take this process for a living one.
        has_ended = self._over is not None or self._child.returncode is not None
        return has_ended or os.getpid() != self._pid

    def on_death(self, listener: Callable[[EngineDied], object]) -> None:
        """Calls ``listener`` once when the process has ended by itself: on the thread of the
        connection, or here if it has already ended.
        """
        self._death_listeners.append(listener)
        self._tell_death()

    def add(self, mailbox: Mailbox) -> int:
        """Gives a number to a generation, whose messages the mailbox gets from now on.

        Raises:
            EngineClosed: the process has ended.
        """
        self.check()
        number = next(self._numbers)
        self._mailboxes[number] = mailbox
        try:
            self.check()  # `_end_all` looks for mailboxes after it has set the end
        except SpecBranchError:
            del self._mailboxes[number]
            raise
        return number

    def remove(self, number: int) -> None:
        """The generation is not needed any more. Any code may call this, also a finalizer."""
        if os.getpid() == self._pid:
            mailbox = self._mailboxes.pop(number, None)
            if mailbox is not None:
                mailbox.end(EngineClosed("[Generation] nobody has this generation any more"))
            self.send("drop", number)

    def send(self, *order: Any) -> None:
        """Sends an order that has no answer. It never waits."""
        self._orders.put(order)

    def call(self, name: str, *arguments: Any, limit_s: float | None = None) -> Any:
        """Sends an order, and waits for its answer.

        Args:
            name: the name of the order.
            *arguments: of the order.
            limit_s: seconds after which the process is ended. ``None`` (default): never.

        Raises:
            EngineDied: the process has ended by itself.
            EngineClosed: it was ended, or this process is a fork.
            SpecBranchError: or another exception that the order has raised; or this is a thread of
                this process, on which a finalizer runs.
        """
        call = _Call()
        self.check()
        if self.is_inside:
            raise SpecBranchError(
                "the engine cannot be asked here: this code, perhaps a finalizer, runs on the "
                "thread that gets the answers of the engine's process"
            )
        number = next(self._numbers)
        self._calls[number] = call
        try:
            self.check()  # `_end_all` looks for calls after it has set the end
            self._orders.put(("call", number, name, *arguments))
            if not call.done.wait(limit_s):
                self._child.kill()
                call.done.wait()
        finally:
            self._calls.pop(number, None)
        if call.error is not None:
            raise call.error
        return call.answer

    def close(self, closed: SpecBranchError) -> None:
        """Ends the process, and waits for its end. Later calls raise ``closed``.

        On a thread of this process, on which a finalizer runs, it does not wait.
        """
        if os.getpid() != self._pid:
            return
        self._over = self._over or closed
        self._closing = True
        if self.is_inside:
            self._child.kill()
            return
        self._orders.put(None)
        self._reader.join(_END_S)
        self._end_child()
        self._log.wait()

    @property
    def is_inside(self) -> bool:
        """Whether the current thread is one of those that work for this process."""
        return threading.current_thread() in self._own_threads

    def wait_for_log(self) -> None:
        """Waits until the lines that have come are logged, unless a handler of the log hangs."""
        self._log.wait()

    def kill(self) -> None:
        """Ends the process at once. Any code may call this, also a finalizer."""
        if os.getpid() == self._pid:
            self._closing = True
            self._child.kill()

    def check(self) -> None:
        """Checks that there is a process.

        Raises:
            EngineDied: it has ended by itself.
            EngineClosed: it was ended, or this process is a fork.
        """
        if os.getpid() != self._pid:
            raise EngineClosed(CLOSED)
        if self._over is not None:
            raise again(self._over)

    def _close_unread(self) -> None:
        """Closes what the threads would close that have not been started."""
        if self._reader.ident is None:
            self._socket.close()
        if self._lines_thread.ident is None and self._child.stderr is not None:
            self._child.stderr.close()

    def _deliver(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                write_order(self._socket, order)
            except OSError:  # `_receive` sees the end of the process
                return
            except Exception as error:  # noqa: BLE001, an argument that cannot be pickled
                self._refuse(order, error)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _refuse(self, order: tuple[Any, ...], error: Exception) -> None:
        call = self._calls.get(order[1]) if order[0] == "call" else None
        if call is not None:
            call.error = InvalidArgument(f"an argument cannot be sent to another process: {error}")
            call.done.set()

    def _receive(self) -> None:
        damage = ""
        with self._socket.makefile("rb") as stream:
            try:
                while (message := read_data(stream)) is not None:
                    self._pass_on(*message)
            except OSError:
                pass
            except Exception as error:  # noqa: BLE001, what it sends may be anything
                damage = f"it sent what no engine sends ({type(error).__name__}: {error})"
                self._child.kill()
        self._end_child()
        self._end_all(damage)

    def _has_work(self) -> bool:
        """Whether the process must do something now."""
        texts = [one for one in [*self._mailboxes.values()] if not one.ended]
        if any(one.waits_for_caller for one in texts):
            return False
        return bool(texts or self._calls)

    def _is_silent(self, _step_s: float) -> bool:
        had_sign, self._has_sign = self._has_sign, False
        return not had_sign and self._has_work()

    def _end_hang(self, timeout_s: float) -> None:
        self._hang = (
            f"it did nothing for {timeout_s:g} s (isolate_timeout) and was killed; it hangs, or "
            "needs more time"
        )
        self._child.kill()

    def _pass_on(self, kind: str, *message: Any) -> None:
        if kind != "log":
            self._has_sign = True
        if kind == "working":  # it was a sign
            return
        if kind in ("answer", "error"):
            number, answer = message
            call = self._calls.get(number)
            if call is not None:
                if kind == "error":
                    call.error = raised_again(*answer)
                else:
                    call.answer = answer
                call.done.set()
        elif kind == "log":
            name, level, text = message
            self._lines.append(printable(text))
            known = name in logging.root.manager.loggerDict and name.startswith(_LOGGER)
            self._log.put(logging.getLogger(name if known else _LOGGER), int(level), text)
        elif kind == "progress":
            self.on_progress(float(*message))
        else:
            mailbox = self._mailboxes.get(message[0])
            if mailbox is not None:
                mailbox.put(kind, *message[1:])

    def _keep_lines(self) -> None:
        stream = self._child.stderr
        if stream is not None:
            with stream:
                for line in stream:
                    self._lines.append(printable(line.decode(errors="replace").rstrip()))

    def _end_child(self) -> None:
        """Waits for the end of the process, and kills it if that does not come."""
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _end_all(self, damage: str) -> None:
        """Tells everyone who waits that nothing comes any more."""
        if self._silence is not None:
            self._silence.stop()
        if self._lines_thread.ident is not None:  # an interrupt may come before its start
            self._lines_thread.join(1.0)
        ended = EngineClosed("[Engine] the engine is closed") if self._closing else None
        over = self._over = self._over or ended or self._death(damage)
        # Who comes later than this sees the end.
        for call in [*self._calls.values()]:
            call.error = again(over)
            call.done.set()
        for mailbox in [*self._mailboxes.values()]:
            mailbox.end(over)
        self._orders.put(None)
        self._log.end()
        self._socket.close()
        self._tell_death()

    def _tell_death(self) -> None:
        if isinstance(self._over, EngineDied):
            with contextlib.suppress(IndexError):  # it was told
                self._death_listeners.pop()(self._over)

    def _death(self, damage: str) -> EngineDied:
        # 0: it does not end so by itself. This program ignores SIGCHLD, or has waited elsewhere.
        code = self._child.returncode or None
        how = damage or self._hang or _end_words(code)
        lines = tuple(self._lines)
        last = f"; its last line: {lines[-1]}" if lines else ""
        died = EngineDied(
            f"[Engine] the process of this engine has ended: {how}{last}{self._hosts}; "
            "a new engine can be made"
        )
        died.exit_code, died.log = code, lines
        return died


def _above_streams(connection: socket.socket) -> socket.socket:
    """The same connection, under a number that is not one of a standard stream.

    A program that has closed its standard streams would else write its output to the connection,
    and the child has streams of its own under these numbers.
    """
    low = []
    while connection.fileno() < _FIRST_NUMBER:
        low.append(connection)
        connection = connection.dup()
    for each in low:
        each.close()
    return connection


def _start(connection: socket.socket) -> subprocess.Popen[bytes]:
    number = connection.fileno()
    return subprocess.Popen(
        [interpreter(), "-c", _CHILD, str(number), str(os.getpid())],
        env=child_environment(),
        cwd="/",
        pass_fds=(number,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process only
    )


def _end_words(code: int | None) -> str:
    if code is None:
        return "nobody knows how"
    return f"with the exit code {code}" if code > 0 else f"by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
