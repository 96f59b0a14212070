"""A generation of the engine's process: threads send what it gives to the caller's process."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from specbranch_cpp import _core
from specbranch_cpp._isolated.errors_across import described
from specbranch_cpp._support import logs

__all__ = ["GRACE_S", "ServedText"]

GRACE_S = 0.05
"""Seconds that a round waits for a reader, who may be at work on the token before."""


class Send(Protocol):
    """Sends a message to the caller's process. If that is gone, it does nothing."""

    def __call__(self, *message: Any) -> None: ...


class ServedText:
    """A generation, read by a thread of its own.

    The threads read it to its end as fast as it grows. A round that the policy of the caller must
    plan waits a moment for a reader there. If none comes, the built-in rule decides, also in later
    rounds, until somebody reads.

    Args:
        number: of the generation, in messages.
        core: the engine.
        request: of the generation.
        channel: asks the functions of the caller. ``None``: there are none.
        send: sends a message.
    """

    def __init__(
        self,
        number: int,
        core: _core.Engine,
        request: _core.Request,
        *,
        channel: _core.ProcessorChannel | None,
        send: Send,
    ) -> None:
        self.number = number
        self._engine = core
        self._send = send
        self._channel = channel
        self._task: _core.ProcessorTask | None = None  # the one that was sent
        self._answered = threading.Semaphore(0)
        self._is_over = False  # nobody answers any more
        self._questions = _Questions()
        self.core = core.generate(request)
        self._threads = [threading.Thread(target=self._read, daemon=True)]
        if channel is not None:
            self._threads.append(threading.Thread(target=self._ask, daemon=True))
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Nobody answers any more. What there is goes to the caller's process."""
        self._is_over = True
        self._questions.end()
        self._answered.release()

    def plan(self, number: int, *plan: int) -> None:
        """The policy has planned a round. It has no effect if the policy was too late.

        Raises:
            InvalidArgument: the plan is out of its range.
        """
        if self._questions.is_open(number):
            self.core.answer(*plan)
            self._questions.close(number)

    def refuse(self, number: int) -> None:
        """The policy has failed, so the text ends: also if its answer comes too late."""
        if self._questions.is_open(number):
            self.core.refuse()
            self._questions.close(number)
        else:
            self.core.cancel()

    def cancel(self) -> None:
        """Ends the work within one forward pass."""
        self.core.cancel()

    def reading(self) -> None:
        """Somebody reads there."""
        self._questions.is_read = True

    def serving(self, number: int) -> None:
        """The policy is at work on a round."""
        self._questions.take(number)

    def join(self, limit_s: float) -> None:
        """Waits until the end was sent."""
        self._threads[0].join(limit_s)

    def answer_task(self, kind: str, task_id: int, *answer: Any) -> None:
        """The functions of the caller have answered.

        Raises:
            InvalidArgument: the scores are not usable. The task can be answered again.
        """
        import numpy as np

        task, channel = self._task, self._channel
        if task is None or channel is None or task.id != task_id:
            return
        if kind == "mask":
            channel.answer_mask(task, np.frombuffer(answer[0], np.uint32))
        elif kind == "row":
            data, ends = answer
            if task.scores is not None:
                task.scores[:] = np.frombuffer(data, np.float32)
            channel.answer_row(task, ends)
        else:
            channel.fail(task)
        self._task = None
        self._answered.release()

    def _read(self) -> None:
        index = 0
        try:
            while True:
                output = self.core.get(index)
                if isinstance(output, _core.Token):
                    index += 1
                    top = [list(pair) for pair in output.top]
                    self._send(
                        "token", self.number, output.token, output.data, output.origin,
                        output.logprob, top,
                    )  # fmt: skip
                elif isinstance(output, _core.GenerationEnd):
                    logs.forward()
                    # A text that was cancelled while it waited has no scores.
                    self._send("end", self.number, output, self._last_words())
                    return
                else:
                    self._ask_policy(output)
        except BaseException as error:  # noqa: BLE001, the caller's process raises it
            logs.forward()
            failed_task = None if self._channel is None else self._channel.failed_task
            self._send("failed", self.number, described(error), failed_task, self._last_words())

    def _ask_policy(self, question: _core.PolicyRequest) -> None:
        questions = self._questions
        if questions.is_read and not self._is_over:
            number = questions.ask()
            self._send("question", self.number, number, question)
            if questions.wait():
                return
            self._send("skipped", self.number, number)
        self.core.skip()

    def _last_words(self) -> dict[str, Any]:
        """What the engine and the text are when the text has ended."""
        return {
            "stats": self._engine.stats,
            "has_draft": self._engine.has_draft,
            "can_speculate": self._engine.can_speculate,
            "n_prefilled": self.core.n_prefilled,
            "prompt_scores": self.core.prompt_scores,
        }

    def _ask(self) -> None:
        """Sends the tasks of the channel, one after another."""
        channel = self._channel
        while channel is not None and (task := channel.next()) is not None:
            self._task = task  # first, because the answer may come at once
            self._send("task", self.number, task.id, task.input_ids, task.scores)
            self._answered.acquire()
            if self._is_over:
                break
        self._send("no_tasks", self.number)


class _Questions:
    """The rounds that the policy of the caller must plan, one after another.

    *Thread safety*: one thread opens and waits; others take, close and end.
    """

    def __init__(self) -> None:
        self.is_read = True
        self._changed = threading.Condition()
        self._number = 0
        self._state = "closed"
        self._is_ended = False

    def ask(self) -> int:
        """The number of a new question."""
        with self._changed:
            self._number += 1
            self._state = "open"
            return self._number

    def wait(self) -> bool:
        """Waits for the answer. ``False``: nobody reads, so none will come."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._state != "open", GRACE_S):
                self._state = "closed"
                self.is_read = False
                return False
            self._changed.wait_for(lambda: self._state == "closed")
            return not self._is_ended

    def take(self, number: int) -> None:
        """Somebody answers, however long that takes."""
        self._set(number, "taken")

    def close(self, number: int) -> None:
        """The answer is there."""
        self._set(number, "closed")

    def is_open(self, number: int) -> bool:
        """Whether an answer is awaited."""
        return number == self._number and self._state != "closed"

    def end(self) -> None:
        """No answer will come any more."""
        with self._changed:
            self._is_ended = True
            self._state = "closed"
            self._changed.notify_all()

    def _set(self, number: int, state: str) -> None:
        with self._changed:
            if self.is_open(number):
                self._state = state
                self._changed.notify_all()
