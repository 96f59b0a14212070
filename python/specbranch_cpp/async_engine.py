"""The engine for programs with an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from specbranch_cpp._engine.many_texts import TextBatch
from specbranch_cpp._support.pump import Pump
from specbranch_cpp._support.signatures import arguments_of, with_parameters_of
from specbranch_cpp.engine import Engine
from specbranch_cpp.errors import EngineClosed
from specbranch_cpp.results import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from specbranch_cpp._engine.text_engine import GenerateKeywords
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.openai_api.calls import Call
    from specbranch_cpp.openai_api.types import (
        ChatChunk,
        ChatCompletion,
        CompletionChunk,
        TextCompletion,
    )
    from specbranch_cpp.results import Completion, GenerationStats, Trace

__all__ = ["AsyncEngine", "AsyncGeneration", "AsyncStream"]

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")
CallT = TypeVar("CallT", bound="Call[Any, Any]")


class AsyncStream(Generic[ItemT]):
    """An asynchronous iterator of chunks, and an asynchronous context manager.

    The generation runs whether or not you read it. It stops within one forward pass if you drop the
    object, leave its ``async with`` block, call `close` or `cancel`, or cancel the task that waits
    for it. The object belongs to the event loop in which it was created.
    """

    def __init__(
        self,
        items: Iterator[ItemT],
        generation: Generation,
        cancel: Callable[[], None] | None = None,
    ) -> None:
        self.generation = generation
        self._cancel = cancel or generation.cancel
        self._closed = False
        self._pump = Pump(items, self._cancel)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT:
        """Waits for the next chunk.

        Raises:
            DecodeError: a forward pass failed; other errors are those of `Generation`.
        """
        if self._closed:
            raise StopAsyncIteration
        try:
            return await self._pump.get()
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Stops the generation. You can still read the chunks that exist."""
        self._cancel()

    async def close(self) -> None:
        """Stops the generation and waits for its end. Afterwards there are no more chunks."""
        self.cancel()
        self._closed = True
        await self._pump.ended()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        cancel = getattr(self, "_cancel", None)
        if cancel is not None:
            cancel()


class AsyncGeneration(AsyncStream[Chunk]):
    """A `Generation` in an event loop. `AsyncEngine.generate` creates it."""

    def __init__(self, generation: Generation) -> None:
        super().__init__(generation, generation)

    async def result(self) -> Completion:
        """Waits for the end and returns the whole text, including chunks that were read before.

        Raises:
            DecodeError: a forward pass failed; other errors are those of `Generation.result`.
        """
        try:
            await self._pump.ended()
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.generation.result()

    def trace_since(self, n_spans: int = 0, n_rounds: int = 0) -> Trace:
        """See `Generation.trace_since`."""
        return self.generation.trace_since(n_spans, n_rounds)

    @property
    def stats(self) -> GenerationStats | None:
        """The statistics of the generation. ``None`` until it has ended."""
        return self.generation.stats


class AsyncEngine:
    """An `Engine` for event loops: waiting does not block the loop.

        async with AsyncEngine("target.gguf", "draft.gguf") as engine:
            async for chunk in engine.generate("def fib(n):"):
                print(chunk.text, end="")

    ``async with`` or `load` loads the models in another thread. Each generation has its own reading
    thread, so any number of generations can wait in the queue.

    The arguments are those of `Engine`. ``progress_callback`` is called in the loading thread.
    """

    _loading: asyncio.Future[None] | None = None

    @with_parameters_of(Engine.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        arguments_of(Engine.__init__, *args, **options)  # reports a wrong keyword at once
        self._begin(lambda: Engine(*args, **options))

    def _begin(self, make: Callable[[], Engine], engine: Engine | None = None) -> None:
        self._make = make
        self._engine = engine
        # A load may go on after the end of its event loop.
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(cls, *args: Any, **options: Any) -> AsyncEngine:
        """An engine with models from the Hugging Face Hub. The loading thread fetches the files.

        The arguments and errors are those of `Engine.from_pretrained`.
        """
        inspect.signature(Engine.from_pretrained).bind(*args, **options)
        made = cls.__new__(cls)
        made._begin(lambda: Engine.from_pretrained(*args, **options))
        return made

    @classmethod
    def of(cls, engine: Engine) -> AsyncEngine:
        """An `AsyncEngine` around an existing engine. `close` also closes that engine."""
        made = cls.__new__(cls)
        made._begin(lambda: engine, engine)
        return made

    async def load(self) -> AsyncEngine:
        """Loads the models. A second call does nothing, or waits for the first one.

        If a call is cancelled, the models are loaded all the same.

        Raises:
            InvalidArgument: an option has the wrong type or is out of its range; other errors are
                those of `Engine`.
        """
        if self._engine is None:
            loading = self._loading_here()
            if loading is None:
                loading = self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
                loading.add_done_callback(self._loaded)
            await asyncio.shield(loading)
        return self

    def _load(self) -> None:
        with self._lock:
            if self._engine is None:
                self._engine = self._make()

    def _loaded(self, loading: asyncio.Future[None]) -> None:
        if self._loading is loading:
            self._loading = None
        if not loading.cancelled():
            loading.exception()  # who waits raises it

    def _loading_here(self) -> asyncio.Future[None] | None:
        """The load that goes on in this event loop. ``None``: there is none."""
        loading = self._loading
        is_here = loading is not None and loading.get_loop() is asyncio.get_running_loop()
        return loading if is_here else None

    @property
    def engine(self) -> Engine:
        """The engine, for methods that do not wait, such as `Engine.tokenize` and `Engine.stats`.

        Raises:
            EngineClosed: the engine has not been loaded.
        """
        if self._engine is None:
            raise EngineClosed("the engine is not loaded; use `async with` or `await load()`")
        return self._engine

    def generate(
        self, prompt: str | Sequence[int], **options: Unpack[GenerateKeywords]
    ) -> AsyncGeneration:
        """Checks the request, queues it, and returns at once.

        Args:
            prompt: as in `Engine.generate`.
            **options: the keywords of `Engine.generate`.

        Raises:
            InvalidArgument: an argument has the wrong type or is out of its range; other errors are
                those of `Engine.generate`.
        """
        return AsyncGeneration(self.engine.generate(prompt, **options))

    async def complete(
        self, prompt: str | Sequence[int], **options: Unpack[GenerateKeywords]
    ) -> Completion:
        """See `Engine.complete`."""
        generation = await asyncio.to_thread(self.engine.generate, prompt, **options)
        return await AsyncGeneration(generation).result()

    async def generate_many(
        self, prompts: Sequence[str | Sequence[int]], **options: Unpack[GenerateKeywords]
    ) -> list[Completion]:
        """See `Engine.generate_many`. Cancelling the task that waits cancels all texts."""
        batch = await asyncio.to_thread(TextBatch, self.engine, prompts, options)
        pump = Pump(_once(batch.results), batch.cancel)
        try:
            return await pump.get()
        except asyncio.CancelledError:
            batch.cancel()
            raise

    async def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Completion:
        """See `Engine.chat`."""
        from specbranch_cpp.openai_api.chat_completions import chat_generation

        generation = await asyncio.to_thread(
            chat_generation, self.engine, messages, chat_template_kwargs, options
        )
        return await AsyncGeneration(generation).result()

    @with_parameters_of(Engine.create_completion)
    async def create_completion(
        self, *args: Any, **options: Any
    ) -> TextCompletion | AsyncStream[CompletionChunk]:
        """See `Engine.create_completion`. With ``stream=True`` the result is an `AsyncStream`.

        A task that is cancelled while it waits ends when the generation has ended.
        """
        from specbranch_cpp.openai_api.completions import CompletionCall
        from specbranch_cpp.openai_api.keywords import CompletionKeywords

        given = CompletionKeywords(**arguments_of(Engine.create_completion, *args, **options))
        call = await _begun(lambda: CompletionCall(self.engine, given))
        return await _answered(call, stream=given.stream)

    @with_parameters_of(Engine.create_chat_completion)
    async def create_chat_completion(
        self, *args: Any, **options: Any
    ) -> ChatCompletion | AsyncStream[ChatChunk]:
        """See `Engine.create_chat_completion`.

        With ``stream=True`` the result is an `AsyncStream`. A task that is cancelled while it waits
        ends when the generation has ended.
        """
        from specbranch_cpp.openai_api.chat_completions import ChatCall
        from specbranch_cpp.openai_api.keywords import ChatKeywords

        given = ChatKeywords(**arguments_of(Engine.create_chat_completion, *args, **options))
        call = await _begun(lambda: ChatCall(self.engine, given))
        return await _answered(call, stream=given.stream)

    async def restart(self) -> None:
        """See `Engine.restart`."""
        await asyncio.to_thread(self.engine.restart)

    async def close(self) -> None:
        """See `Engine.close`."""
        loading = self._loading_here()
        if loading is not None:
            with contextlib.suppress(Exception):  # `load` raises it
                await asyncio.shield(loading)
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:  # waits for a load of another event loop
            engine = self._engine
        if engine is not None:
            engine.close()

    async def __aenter__(self) -> AsyncEngine:
        return await self.load()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncEngine: {'not loaded' if self._engine is None else self._engine!r}>"


async def _begun(make: Callable[[], CallT]) -> CallT:
    """Makes a call on another thread, which nothing can interrupt.

    A cancelled task waits for the call, and ends when its generation has ended.
    """
    making = asyncio.ensure_future(asyncio.to_thread(make))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):  # nobody waits for the error
            await _answering(await making).close()
        raise


async def _answered(call: Call[AnswerT, ItemT], *, stream: bool) -> AnswerT | AsyncStream[ItemT]:
    if stream:
        return AsyncStream(call.stream(), call.generation, call.cancel)
    answering = _answering(call)
    try:
        return await answering.__anext__()
    except asyncio.CancelledError:
        await answering.close()
        raise


def _answering(call: Call[AnswerT, Any]) -> AsyncStream[AnswerT]:
    """The whole answer of a call, read by a thread."""
    return AsyncStream(_once(call.answer), call.generation, call.cancel)


def _once(function: Callable[[], AnswerT]) -> Iterator[AnswerT]:
    yield function()
