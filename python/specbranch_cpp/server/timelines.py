"""What both models did for each text of the last seconds, for the live view.

No text is in it: neither a prompt nor what was generated.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import SpecBranchError
from specbranch_cpp.server.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specbranch_cpp import _core
    from specbranch_cpp._engine.running_texts import RunningText
    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.slots import Slots

__all__ = ["LINGER_S", "MOST_ENDED", "MOST_LIVE", "WATCHED_S", "Timelines", "parse_seen"]

WATCHED_S = 10.0
"""Texts that begin within so many seconds after a look record their commands."""
LINGER_S = 5.0
"""Seconds for which a text that has ended is shown."""
MOST_LIVE = 16
"""The largest number of texts with a row that run or wait."""
MOST_ENDED = 8
"""The largest number of texts with a row that have ended."""
_KEPT_S = 10.0  # commands that ended longer ago are forgotten
_MOST_COMMANDS = 2000  # of a text
_MOST_SEEN = 64


@dataclass(frozen=True)
class _Command:
    """A command of a model, on the clock of the timelines."""

    side: str
    kind: str
    begin_ms: float
    end_ms: float
    end: str
    n_tokens: int


class _Row:
    """A text and its commands of the last seconds.

    *Thread safety*: `read` may be called by several threads. The rest is for the holder of the lock
    of the timelines.
    """

    def __init__(self, text: RunningText, zero_ms: float) -> None:
        self.number = text.number
        self.mode = text.request.mode
        self.is_recorded = text.request.trace
        self.slot: int | None = None
        self.n_prompt = text.generation.n_prompt
        self.n_read = 0  # tokens of the prompt
        self.n_generated = 0
        self.reason: str | None = None  # why it has ended
        self.ended_s = 0.0
        self._zero_ms = zero_ms
        self._lock = threading.Lock()
        self._commands: deque[_Command] = deque(maxlen=_MOST_COMMANDS)
        self._n_commands = 0  # also those that are forgotten

    def read(self, text: RunningText) -> None:
        """Reads what is new of a text."""
        # An engine whose process has ended says nothing any more.
        with self._lock, contextlib.suppress(SpecBranchError):
            self.n_generated = text.generation.n_read
            if self.is_recorded:
                trace = text.record_since(self._n_commands)
                spans = trace.spans
                self._n_commands += len(spans)
                begin_ms = trace.begin_ms - self._zero_ms
                self._commands.extend(_command(span, begin_ms) for span in spans)
            self.n_read = text.generation.n_prefilled

    def end(self, reason: str, now_s: float) -> None:
        """The text has ended."""
        self.reason, self.ended_s = reason, now_s

    @property
    def state(self) -> str:
        """``"waiting"`` for a slot, ``"prompt"``, ``"running"`` or ``"ended"``."""
        if self.reason is not None:
            return "ended"
        if self.slot is None:
            return "waiting"
        return "running" if self.n_generated or self.n_read >= self.n_prompt else "prompt"

    def forget(self, before_ms: float) -> None:
        """Forgets the commands that ended before a moment."""
        with self._lock:
            commands = self._commands
            while commands and commands[0].end_ms < before_ms:
                commands.popleft()

    def entry(self, n_seen: int) -> dict[str, Any]:
        """The text as it is sent to a client that has seen so many commands."""
        with self._lock:
            n_commands = self._n_commands
            kept = list(self._commands)
        new = kept[max(0, len(kept) - max(0, n_commands - n_seen)) :]
        return {
            "id": self.number,
            "slot": self.slot,
            "state": self.state,
            "finish_reason": self.reason,
            "mode": self.mode,
            "n_prompt_tokens": self.n_prompt,
            "n_prompt_tokens_processed": self.n_read,
            "n_decoded": self.n_generated,
            "is_recorded": self.is_recorded,
            "n_spans": n_commands,
            "spans": [vars(command) for command in new],
        }


class Timelines:
    """The texts of the last seconds, a row each.

    Texts record their commands only while somebody looks, so nobody pays for it otherwise. A text
    that began before has a row without commands.

    *Thread safety*: any thread may call every method. `look` may wait for an engine in another
    process.
    """

    def __init__(self, engine: Engine, slots: Slots) -> None:
        self._texts = engine._shared.texts
        self._slots = slots
        self._lock = threading.Lock()
        self._rows: dict[int, _Row] = {}
        self._zero_s = time.monotonic()
        self._looked_s: float | None = None  # when somebody has looked last
        self._texts.watchers.append(self)

    @property
    def is_looking(self) -> bool:
        """See `TextWatcher`."""
        looked_s = self._looked_s
        return looked_s is not None and time.monotonic() - looked_s < WATCHED_S

    def ended(self, text: RunningText, reason: str) -> None:
        """See `TextWatcher`."""
        if not self.is_looking:
            with self._lock:
                self._rows.clear()  # nobody asks for them any more
            return
        row = self._row(text)
        row.read(text)
        now_s = time.monotonic()
        with self._lock:
            row.end(reason, now_s)
            self._drop_old(now_s)

    def look(self, seen: Mapping[int, int]) -> dict[str, Any]:
        """The rows as they are now.

        Args:
            seen: the number of commands that the client has of each text.
        """
        now_s = self._looked_s = time.monotonic()
        slots = {slot.text.number: slot.id for slot in self._slots.now() if slot.text is not None}
        live = self._texts.now()
        live.sort(key=lambda text: text.number not in slots)  # those that wait come last
        n_more = max(0, len(live) - MOST_LIVE)
        live = live[:MOST_LIVE]
        for text in live:
            row = self._row(text)
            row.slot = slots.get(text.number)
            row.read(text)
        shown = {text.number for text in live}
        left = {text.number for text in self._texts.now()}
        with self._lock:
            for row in self._rows.values():
                # One whose end was read meanwhile says that itself.
                if row.reason is None and row.number not in left:
                    row.end("dropped", now_s)
            self._drop_old(now_s)
            rows = [
                row
                for number, row in sorted(self._rows.items())
                if number in shown or row.reason is not None
            ]
        for row in rows:
            row.forget(self._ms(now_s - _KEPT_S))
        return {
            "now_ms": self._ms(time.monotonic()),
            "n_slots": self._slots.n_slots,
            "n_more": n_more,
            "texts": [row.entry(seen.get(row.number, 0)) for row in rows],
        }

    def _ms(self, at_s: float) -> float:
        return 1000.0 * (at_s - self._zero_s)

    def _row(self, text: RunningText) -> _Row:
        with self._lock:
            row = self._rows.get(text.number)
            if row is None:
                row = self._rows[text.number] = _Row(text, 1000.0 * self._zero_s)
            return row

    def _drop_old(self, now_s: float) -> None:
        """Drops texts that ended a while ago, or before many others. The lock is held."""
        ended = [row for row in self._rows.values() if row.reason is not None]
        ended.sort(key=lambda row: row.ended_s)
        for at, row in enumerate(ended, start=1):
            if now_s - row.ended_s > LINGER_S or len(ended) - at >= MOST_ENDED:
                del self._rows[row.number]


def parse_seen(words: str) -> dict[int, int]:
    """Reads ``"3:120,4:7"``: of text 3 the client has 120 commands, of text 4 it has 7.

    Raises:
        BadRequest: it is something else, or too long.
    """
    pairs = [pair for pair in words.split(",") if pair]
    try:
        if len(pairs) > _MOST_SEEN:
            raise ValueError
        found = {}
        for pair in pairs:
            number, _, count = pair.partition(":")
            if not (number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
                raise ValueError
            found[int(number)] = int(count)
    except ValueError:
        raise BadRequest(
            f"seen is {words!r:.100}; it must be at most {_MOST_SEEN} pairs of numbers, like "
            "3:120,4:7",
            "seen",
        ) from None
    return found


def _command(span: _core.TraceSpan, begin_ms: float) -> _Command:
    return _Command(
        side=span.side,
        kind=span.kind,
        begin_ms=round(begin_ms + span.begin_ms, 3),
        end_ms=round(begin_ms + span.end_ms, 3),
        end=span.end,
        n_tokens=span.n_tokens,
    )
