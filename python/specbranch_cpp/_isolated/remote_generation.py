"""A generation of an engine in another process."""

from __future__ import annotations

import contextlib
import weakref
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine.outputs import RemoteEnd, RemoteQuestion, RemoteToken
from specbranch_cpp._isolated.errors_across import again, raised_again
from specbranch_cpp._isolated.process import EngineProcess
from specbranch_cpp._support.short_waits import WAIT_S
from specbranch_cpp._support.wakeups import Changes
from specbranch_cpp.errors import EngineClosed, SpecBranchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp._isolated.recorded_request import RecordedRequest
    from specbranch_cpp._isolated.remote_channel import RemoteChannel

__all__ = ["RemoteGeneration"]


@dataclass(eq=False)
class _Question:
    """A policy request.

    Attributes:
        number: its number; a generation has at most one open request.
        value: what the policy gets.
        is_served: whether somebody works on it.
        is_over: whether it has its answer, or needs none any more.
    """

    number: int
    value: RemoteQuestion
    is_served: bool = False
    is_over: bool = False


class _Received:
    """What has come of a generation. The thread of the connection writes, others read.

    There is no lock: each thread sets attributes that others only read, or sets flags only. Code of
    the caller, such as a signal handler, may run at any place of a reader.
    """

    def __init__(
        self, channel: RemoteChannel | None, on_end: Callable[[dict[str, Any]], None]
    ) -> None:
        self.changes = Changes()
        self.outputs: list[RemoteToken | RemoteEnd] = []
        self._question: _Question | None = None
        self.error: Exception | None = None
        self.last_words: dict[str, Any] | None = None
        self.is_read = True  # as far as the other process knows
        self._channel = channel
        self._on_end = on_end

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.error is not None or self.last_words is not None

    @property
    def question(self) -> _Question | None:
        """The policy request that waits for its answer."""
        question = self._question
        return None if question is None or question.is_over else question

    @property
    def waits_for_caller(self) -> bool:
        """See `Mailbox`: a policy or another function of the caller is at work."""
        asked = self._channel is not None and self._channel.n_open > 0
        return asked or self.question is not None

    def put(self, kind: str, *message: Any) -> None:
        """See `Mailbox`."""
        if kind == "task":
            from specbranch_cpp._isolated.remote_channel import RemoteTask

            if self._channel is not None:
                self._channel.put(RemoteTask(*message))
            return
        if kind == "no_tasks":
            self._end_channel(None)
            return
        if kind == "token":
            token, data, origin, logprob, top = message
            pairs = [(other, value) for other, value in top]
            self.outputs.append(RemoteToken(token, data, origin, logprob, pairs))
        elif kind == "question":
            number, value = message
            self._question = _Question(number, RemoteQuestion(**vars(value)))
        elif kind == "skipped":
            self.is_read = False
            question = self.question
            if question is not None and question.number == message[0] and not question.is_served:
                question.is_over = True
        elif kind == "end":
            end, self.last_words = message
            self._on_end(self.last_words)
            self.outputs.append(RemoteEnd(**vars(end)))
        elif kind == "failed":
            error, failed_task, self.last_words = message
            self._on_end(self.last_words)
            self._end_channel(failed_task)
            self.error = raised_again(*error)
        self.changes.tell()

    def end(self, error: SpecBranchError) -> None:
        """See `Mailbox`."""
        if not self.ended:
            self.error = error
        self.changes.tell()
        self._end_channel(None)

    def _end_channel(self, failed_task: int | None) -> None:
        if self._channel is not None:
            if failed_task is not None:
                self._channel.failed_task = failed_task
            self._channel.put(None)


class RemoteGeneration:
    """The same as `_core.Generation`. Dropping it stops the generation.

    Raises:
        EngineDied: or another error of `EngineProcess.call`.
        InvalidArgument: the engine refuses the request.
    """

    def __init__(
        self,
        process: EngineProcess,
        request: RecordedRequest,
        on_end: Callable[[dict[str, Any]], None],
    ) -> None:
        channel = request.channel
        self._process = process
        self._received = _Received(channel, on_end)
        self._asked: _Question | None = None  # the one that `get` has given
        self._number = process.add(self._received)
        if channel is not None:
            channel.connect(self._number, process.call)
        functions = None if channel is None else (channel.masks, channel.rows)
        try:
            process.call("generate", self._number, request.steps, functions)
        except BaseException:
            process.remove(self._number)
            raise
        weakref.finalize(self, process.remove, self._number).atexit = False

    def get(self, index: int) -> RemoteToken | RemoteEnd | RemoteQuestion:
        """The output of that index, or a policy request until it is answered."""
        found = self._look(index)
        if found is None:
            with self._received.changes.watched() as change:
                while (found := self._look(index)) is None:
                    change.wait(WAIT_S)
        return found

    def _look(self, index: int) -> RemoteToken | RemoteEnd | RemoteQuestion | None:
        """What `get` returns. ``None``: it has not come yet."""
        received = self._received
        # First: what belongs to an error, or was there before it, is put before it.
        error = received.error
        if len(received.outputs) > index:
            return received.outputs[index]
        question = received.question
        if question is not None:
            if not question.is_served:
                question.is_served = True
                self._process.send("serving", self._number, question.number)
            self._asked = question
            return question.value
        if error is not None:
            raise again(error)
        if not received.is_read:
            received.is_read = True
            self._process.send("reading", self._number)
        return None

    def answer(self, draft_length: int, branch_at: int, branches: int, submit: int) -> None:
        """Answers the policy request of `get`; -1 leaves a value to the mode."""
        question = self._asked
        assert question is not None
        plan = (draft_length, branch_at, branches, submit)
        with contextlib.suppress(EngineClosed):  # the text has ended, and `get` says how
            self._process.call("plan", self._number, question.number, *plan)
        question.is_over = True

    def refuse(self) -> None:
        """No plan: the generation ends."""
        question = self._asked
        assert question is not None
        self._process.send("refuse", self._number, question.number)
        question.is_over = True

    def cancel(self) -> None:
        """Ends the work within one forward pass; never waits."""
        self._process.send("cancel", self._number)

    def trace_since(self, n_spans: int, n_rounds: int) -> Any:
        """What was recorded after the first ones, while it runs; rounds without features."""
        end = self._end
        if end is None:
            return self._process.call("trace", self._number, n_spans, n_rounds)
        trace = end.trace
        return SimpleNamespace(
            spans=trace.spans[n_spans:], rounds=trace.rounds[n_rounds:], begin_ms=trace.begin_ms
        )

    @property
    def n_prefilled(self) -> int:
        """Tokens of the prompt that the target holds."""
        return int(self._fact("n_prefilled", "prefilled"))

    @property
    def prompt_scores(self) -> Any:
        """Of the second token of the prompt and those after it, as far as the target has read."""
        return self._fact("prompt_scores", "scores")

    def _fact(self, name: str, order: str) -> Any:
        words = self._received.last_words
        return self._process.call(order, self._number) if words is None else words[name]

    @property
    def _end(self) -> RemoteEnd | None:
        outputs = self._received.outputs
        last = outputs[-1] if outputs else None
        return last if isinstance(last, RemoteEnd) else None
