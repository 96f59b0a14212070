"""A running generation."""

from __future__ import annotations

import codecs
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from specbranch_cpp import _core
from specbranch_cpp._engine import user_policy
from specbranch_cpp._support import checked, logs
from specbranch_cpp.errors import EngineClosed, InvalidArgument, SpecBranchError
from specbranch_cpp.results import (
    Chunk,
    Completion,
    FinishReason,
    GenerationStats,
    Origin,
    TokenLogprobs,
    Trace,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from specbranch_cpp.policies import Policy

__all__ = ["Generation"]

DecoderState = tuple[bytes, int]


@dataclass(frozen=True)
class _Step:
    """One output of the core with the text that it made certain."""

    output: _core.Token | _core.Outcome
    text: str
    decoder: DecoderState  # of the incremental decoder, afterwards


@dataclass
class Shared:
    """What the generations of one engine have in common.

    Attributes:
        planning: threads in which a policy is thinking.
        listeners: see `Engine.on_end`.
    """

    planning: set[int] = field(default_factory=set)
    listeners: list[Callable[[GenerationStats], object]] = field(default_factory=list)


class Generation:
    """A text in the making: an iterator of `Chunk`, and a context manager.

    Made by `Engine.generate`. The work goes on whether or not it is read, so several generations
    can be read in any order. Dropping the object, leaving its ``with`` block, `cancel` and Ctrl-C
    stop the work within one forward pass.

    Iterating and `result` read the same chunks: each comes once, in order; threads that read at
    the same time share them.
    """

    def __init__(
        self,
        owner: object,
        shared: Shared,
        core: _core.Generation,
        *,
        logprobs: bool,
        trace: bool = False,
        policy: Policy | None = None,
        n_prompt: int = 0,
    ) -> None:
        self._owner = owner  # the engine, kept alive while it works for us
        self._shared = shared
        self._n_prompt = n_prompt
        self._core = core
        self._has_logprobs = logprobs
        self._has_trace = trace
        self._pid = os.getpid()
        # Reentrant, for the handler of a signal that reads while its thread waits here.
        self._lock = threading.RLock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._steps: list[_Step] = []  # appending is the only change: an interrupt loses nothing
        self._failed = False
        self._hook = None if policy is None else user_policy.Hook(policy)
        self._policy_error: BaseException | None = None
        self._completion: Completion | None = None

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> Chunk:
        """Waits for the next chunk.

        Raises:
            DecodeError: a forward pass failed.
            EngineClosed: this process is a fork of the one that made the engine.
            Exception: whatever the policy raises; InvalidArgument if its plan is out of range.
        """
        self._check_process()
        with self._lock:
            if self._failed or self._ended:
                raise StopIteration
            return self._chunk(self._read())

    def result(self) -> Completion:
        """Waits for the end and returns the whole text, what was read before included.

        After a cancel it is the text so far, with ``finish_reason`` ``"cancelled"``.

        Raises:
            DecodeError: a forward pass failed.
            EngineClosed: this process is a fork of the one that made the engine.
            Exception: as above.
        """
        self._check_process()
        with self._lock:
            while not self._ended:
                self._read()
            if self._completion is None:
                self._completion = self._complete()
            return self._completion

    def cancel(self) -> None:
        """Stops the work within one forward pass. What was generated can still be read."""
        self._core.cancel()

    @property
    def stats(self) -> GenerationStats | None:
        """What it cost; None until the last chunk has been read."""
        return self.result().stats if self._ended else None

    @property
    def n_prompt(self) -> int:
        """Tokens of the prompt."""
        return self._n_prompt

    @property
    def n_prefilled(self) -> int:
        """How many of them the target holds by now; 0 while the generation waits its turn."""
        self._check_process()
        return self._core.n_prefilled

    def trace_since(self, n_spans: int = 0, n_rounds: int = 0) -> Trace:
        """What has been recorded by now, past the first spans and rounds; from any thread.

        The round of a token is there before the chunk that brings it. ``result().trace`` has it
        all in the end, and the rounds' ``features``, which are left out here.

        Args:
            n_spans: spans to leave out: those that were read before.
            n_rounds: rounds to leave out.

        Raises:
            InvalidArgument: the generation was not asked for a ``trace``, or a number is negative.
            EngineClosed: this process is a fork of the one that made the engine.
        """
        self._check_process()
        if not self._has_trace:
            raise InvalidArgument("the generation has no record: ask for it with trace=True")
        return Trace._from_core(
            self._core.trace_since(
                checked.integer("n_spans", n_spans, 0),
                checked.integer("n_rounds", n_rounds, 0),
            )
        )

    def __enter__(self) -> Generation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        state = "failed" if self._failed else "running"
        n_tokens = len(self._steps)
        if self._ended:
            state = cast("_core.Outcome", self._steps[-1].output).finish_reason
            n_tokens -= 1
        return f"<Generation: {n_tokens} tokens read, {state}>"

    def _check_process(self) -> None:
        # Before the lock, which a thread may have held that the child does not have.
        if os.getpid() != self._pid:
            raise EngineClosed(
                "[Generation] this process is a fork of the one that made the engine"
            )

    @property
    def _ended(self) -> bool:
        return bool(self._steps) and isinstance(self._steps[-1].output, _core.Outcome)

    def _read(self) -> _Step:
        """Waits for one more step; meanwhile answers what the policy is asked."""
        if self._policy_error is not None:
            raise self._policy_error
        if threading.get_ident() in self._shared.planning:
            raise SpecBranchError("a policy must not read a generation of the engine that asks it")
        while True:
            index = len(self._steps)
            try:
                output = self._core.get(index)
                if isinstance(output, _core.Question):
                    self._serve(output)
                    continue
            except SpecBranchError:
                self._failed = True
                logs.forward()
                raise
            except BaseException:  # a signal's, or the policy's: nobody may answer any more
                self.cancel()
                raise
            if index != len(self._steps):
                continue  # the handler of a signal has read this one
            # An interrupted attempt may have left something in it.
            self._decoder.setstate(self._steps[-1].decoder if index else (b"", 0))
            if isinstance(output, _core.Outcome):
                logs.forward()
                text = self._decoder.decode(output.tail, final=True)
            else:
                text = self._decoder.decode(output.data)
            step = _Step(output, text, self._decoder.getstate())
            self._steps.append(step)
            if isinstance(output, _core.Outcome):
                for listener in self._shared.listeners:
                    listener(self.result().stats)
            return step

    def _serve(self, question: _core.Question) -> None:
        """Lets the policy answer; what it raises ends the generation."""
        thread = threading.get_ident()
        self._shared.planning.add(thread)
        try:
            cast("user_policy.Hook", self._hook).serve(question, self._core)
        except KeyboardInterrupt:
            self._core.cancel()  # first, so that it is no failure
            self._core.refuse()
            raise
        except BaseException as error:
            self._failed = True
            self._policy_error = error
            self._core.refuse()
            raise
        finally:
            self._shared.planning.discard(thread)

    def _chunk(self, step: _Step) -> Chunk:
        output = step.output
        if isinstance(output, _core.Outcome):
            reason = cast("FinishReason", output.finish_reason)
            return Chunk(step.text, token=None, from_draft=False, finish_reason=reason)
        origin = cast("Origin", output.origin)
        logprob, top = (output.logprob, dict(output.top)) if self._has_logprobs else (None, None)
        return Chunk(step.text, output.token, origin != "target", logprob, origin=origin, top=top)

    def _complete(self) -> Completion:
        outcome = cast("_core.Outcome", self._steps[-1].output)
        tokens = [cast("_core.Token", step.output) for step in self._steps[:-1]]
        logprobs = None
        if self._has_logprobs:
            logprobs = tuple(TokenLogprobs(t.token, t.logprob, dict(t.top)) for t in tokens)
        return Completion(
            text="".join(step.text for step in self._steps),
            tokens=tuple(token.token for token in tokens),
            finish_reason=cast("FinishReason", outcome.finish_reason),
            logprobs=logprobs,
            stats=GenerationStats._from_core(outcome.stats),
            trace=Trace._from_core(outcome.trace) if self._has_trace else None,
        )
