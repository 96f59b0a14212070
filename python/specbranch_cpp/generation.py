"""A running generation."""

from __future__ import annotations

import codecs
import contextlib
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from specbranch_cpp._engine import user_policy
from specbranch_cpp._engine.outputs import is_end, is_question
from specbranch_cpp._engine.running_texts import RunningTexts
from specbranch_cpp._support import checked, logs
from specbranch_cpp._support.raised import passed_on
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
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from specbranch_cpp import _core
    from specbranch_cpp._engine.outputs import Output
    from specbranch_cpp._engine.processing import Processing
    from specbranch_cpp.policies import Policy

__all__ = ["Generation"]

DecoderState = tuple[bytes, int]


@dataclass(frozen=True)
class _Step:
    """One output of the core, and the text that is final after it."""

    output: Output
    text: str
    decoder: DecoderState  # state of the incremental decoder afterwards


def _step(output: Output, state: DecoderState) -> _Step:
    """The step of an output; ``state``: that of the decoder before."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.setstate(state)
    if is_end(output):
        text = decoder.decode(output.tail, final=True)
    else:
        text = decoder.decode(output.data)
    return _Step(output, text, decoder.getstate())


@dataclass
class Shared:
    """State that all generations of one engine share.

    Attributes:
        planning: threads that run a policy or a logits processor at this time.
        listeners: see `Engine.on_end`.
        texts: the generations that run or wait.
    """

    planning: set[int] = field(default_factory=set)
    listeners: list[Callable[[GenerationStats], object]] = field(default_factory=list)
    texts: RunningTexts = field(default_factory=RunningTexts)

    def check_reader(self) -> None:
        """Refuses a reader that a generation waits for.

        Raises:
            SpecBranchError: this thread runs a policy or a logits processor.
        """
        if threading.get_ident() in self.planning:
            raise SpecBranchError(
                "a policy or a logits processor must not read a generation of the engine that "
                "calls it"
            )


class Generation:
    """A running generation: an iterator of `Chunk`, and a context manager.

    `Engine.generate` creates it. The generation runs whether or not you read it, so you can read
    several generations in any order. It stops within one forward pass if you drop the object, leave
    its ``with`` block, call `cancel` or press Ctrl-C.

    Iteration and `result` read the same chunks. Each chunk comes once, in order; threads that read
    at the same time share the chunks.
    """

    def __init__(
        self,
        owner: object,
        shared: Shared,
        core: _core.Generation,
        request: _core.Request,
        *,
        logprobs: bool,
        trace: bool = False,
        policy: Policy | None = None,
        processing: Processing | None = None,
        scores_prompt: bool = False,
    ) -> None:
        self._owner = owner  # keeps the engine alive while the generation runs
        self._shared = shared
        self._n_prompt = request.n_prompt
        self._core = core
        self._has_logprobs = logprobs
        self._has_trace = trace
        self._scores_prompt = scores_prompt
        self._pid = os.getpid()
        # Reentrant: a signal handler may read while its thread waits here.
        self._lock = threading.RLock()
        # By index. Steps are only added, and in one piece: whatever interrupts a reader, also
        # another reader in a signal handler, none is lost or there twice.
        self._steps: dict[int, _Step] = {}
        self._failed = False
        self._hook = None if policy is None else user_policy.Hook(policy)
        self._processing = processing
        self._own_error: BaseException | None = None  # of the policy or a processor
        if processing is not None:
            processing.start(shared.planning)
        self._completion: Completion | None = None
        self._number = shared.texts.add(self, request)

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> Chunk:
        """Waits for the next chunk.

        Raises:
            DecodeError: a forward pass of the target failed.
            EngineClosed: the engine was created before this process was forked.
            Exception: any exception of the policy or of a logits processor; InvalidArgument if
                what they return is wrong.
        """
        with self._reading():
            step = self._read()
            chunk = None if step is None else self._chunk(step)
        if chunk is None:
            raise StopIteration
        return chunk

    def result(self) -> Completion:
        """Waits for the end and returns the whole text, including chunks that were read before.

        After a cancel, the result is the text so far, with ``finish_reason`` ``"cancelled"``.

        Raises:
            DecodeError: a forward pass of the target failed.
            EngineClosed: the engine was created before this process was forked.
            Exception: any exception of the policy or of a logits processor.
        """
        with self._reading():
            while not self._ended:
                self._read()
            if self._completion is None:
                self._completion = self._complete()
            return self._completion

    def prompt_logprobs(self) -> tuple[TokenLogprobs | None, ...]:
        """Waits until the target has read the prompt, and returns the scores of its tokens.

        There is one entry for each token, and the first entry is ``None``. After a cancel there may
        be fewer entries.

        Raises:
            InvalidArgument: the generation was started without ``prompt_logprobs``.
            DecodeError: a forward pass of the target failed; other errors are those of `result`.
        """
        self._check_process()
        if not self._scores_prompt:
            raise InvalidArgument("the generation has no scores; start it with prompt_logprobs")
        if not self._steps:
            with self._reading():
                if not self._steps:
                    self._output(0)  # comes after the prompt, and stays to be read
        scores = self._core.prompt_scores
        return None, *(TokenLogprobs(one.token, one.logprob, dict(one.top)) for one in scores)

    def cancel(self) -> None:
        """Stops the generation within one forward pass.

        You can still read the text that it generated.
        """
        self._core.cancel()

    @property
    def stats(self) -> GenerationStats | None:
        """The statistics of the generation. ``None`` until the last chunk has been read."""
        return self.result().stats if self._ended else None

    @property
    def n_prompt(self) -> int:
        """The number of tokens in the prompt."""
        return self._n_prompt

    @property
    def n_prefilled(self) -> int:
        """The number of prompt tokens that the target has read.

        It is 0 while the generation waits in the queue.
        """
        self._check_process()
        return self._core.n_prefilled

    @property
    def n_read(self) -> int:
        """The number of tokens of the text that were read so far."""
        return len(self._steps) - self._ended

    def trace_since(self, n_spans: int = 0, n_rounds: int = 0) -> Trace:
        """The part of the trace after the first ``n_spans`` spans and ``n_rounds`` rounds.

        Any thread may call this method while the generation runs. The round of a token appears
        before the chunk of that token. The rounds have no ``features``; at the end,
        ``result().trace`` has the whole trace with them.

        Args:
            n_spans: number of spans to skip: the spans of earlier calls.
            n_rounds: number of rounds to skip: the rounds of earlier calls.

        Raises:
            InvalidArgument: the generation was started without ``trace=True``, or a number is
                negative.
            EngineClosed: the engine was created before this process was forked.
        """
        self._check_process()
        if not self._has_trace:
            raise InvalidArgument("the generation has no trace; start it with trace=True")
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
            state = cast("_core.GenerationEnd", self._last.output).finish_reason
            n_tokens -= 1
        return f"<Generation: {n_tokens} tokens read, {state}>"

    def _check_process(self) -> None:
        # Check before locking: a thread of the parent may hold the lock, and a forked child does
        # not have that thread.
        if os.getpid() != self._pid:
            raise EngineClosed(
                "[Generation] this process is a fork; the engine belongs to its parent"
            )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """This thread reads. Ctrl-C at any place cancels the generation, as in `_output`."""
        try:
            self._check_reader()
            with self._lock:
                yield
        except KeyboardInterrupt:
            self.cancel()
            raise

    def _check_reader(self) -> None:
        self._check_process()
        # Also before locking: a function of the caller, for whose answer a reader waits with the
        # lock, would wait for that reader.
        if not self._ended:
            self._shared.check_reader()

    @property
    def _ended(self) -> bool:
        return bool(self._steps) and is_end(self._last.output)

    @property
    def _last(self) -> _Step:
        return self._steps[len(self._steps) - 1]

    def _read(self) -> _Step | None:
        """Waits for one more step, and lets the policy answer meanwhile.

        Returns ``None`` if a signal handler has read the end meanwhile.
        """
        while True:
            index = len(self._steps)  # before the next look, because a handler may read the end
            if self._ended:
                return None
            output = self._output(index)
            if index != len(self._steps):
                continue  # a signal handler has read this step
            step = _step(output, self._steps[index - 1].decoder if index else (b"", 0))
            if self._steps.setdefault(index, step) is not step:
                continue  # it has read it just now
            if is_end(output):
                logs.forward()
                if output.draft_error:
                    logs.DRAFTS.warning(
                        "the draft failed, and the text went on without it: %s", output.draft_error
                    )
                self._shared.texts.end(self._number, self, output.finish_reason)
                for listener in self._shared.listeners:
                    listener(self.result().stats)
            return step

    def _output(self, index: int) -> Output:
        """Waits for an output of the core, and lets the policy answer meanwhile."""
        if self._own_error is not None:
            raise self._own_error
        try:
            while is_question(output := self._core.get(index)):
                self._serve(output)
        except SpecBranchError:
            if self._own_error is not None:  # the policy raised this
                raise
            self._fail()
            logs.forward()
            self._own_error = self._processing.error if self._processing else None
            if self._own_error is None:
                raise
        except BaseException:
            # A signal handler or the policy raised this: no answer may follow.
            self.cancel()
            raise
        else:
            return output
        raise self._own_error  # here, not above, where it would get another context

    def _serve(self, question: _core.PolicyRequest) -> None:
        """Lets the policy answer. An exception of the policy ends the generation."""
        thread = threading.get_ident()
        self._shared.planning.add(thread)
        try:
            cast("user_policy.Hook", self._hook).serve(question, self._core)
        except KeyboardInterrupt:
            self._core.cancel()  # cancel first, so that the end does not count as a failure
            self._core.refuse()
            raise
        except BaseException as error:  # noqa: BLE001, it is raised, or what stands for it
            self._fail()
            self._own_error = passed_on(error)
            self._core.refuse()
            raise self._own_error  # noqa: B904, it has a cause of its own
        finally:
            self._shared.planning.discard(thread)

    def _fail(self) -> None:
        self._failed = True
        self._shared.texts.end(self._number, self, "failed")

    def _chunk(self, step: _Step) -> Chunk:
        output = step.output
        if is_end(output):
            reason = cast("FinishReason", output.finish_reason)
            return Chunk(
                step.text,
                token=None,
                from_draft=False,
                finish_reason=reason,
                stop=output.stop or None,
            )
        origin = cast("Origin", output.origin)
        logprob, top = (output.logprob, dict(output.top)) if self._has_logprobs else (None, None)
        return Chunk(step.text, output.token, origin != "target", logprob, origin=origin, top=top)

    def _complete(self) -> Completion:
        outcome = cast("_core.GenerationEnd", self._last.output)
        *before, _ = self._steps.values()
        tokens = [cast("_core.Token", step.output) for step in before]
        logprobs = None
        if self._has_logprobs:
            logprobs = tuple(TokenLogprobs(t.token, t.logprob, dict(t.top)) for t in tokens)
        return Completion(
            text="".join(step.text for step in self._steps.values()),
            tokens=tuple(token.token for token in tokens),
            finish_reason=cast("FinishReason", outcome.finish_reason),
            logprobs=logprobs,
            stats=GenerationStats._from_core(outcome.stats),
            trace=Trace._from_core(outcome.trace) if self._has_trace else None,
            prompt_logprobs=self.prompt_logprobs() if self._scores_prompt else None,
            stop=outcome.stop or None,
        )
