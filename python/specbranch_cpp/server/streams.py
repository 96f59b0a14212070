"""Replies as one piece or as server-sent events. They end when the client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pydantic_core
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from specbranch_cpp._support import logs
from specbranch_cpp.server.auth import client_of
from specbranch_cpp.server.errors import ClientGone, from_exception, is_surprise

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from specbranch_cpp.server.embeddings.call import EmbeddingCall
    from specbranch_cpp.server.errors import ApiError
    from specbranch_cpp.server.service import QueuedCall, Service

__all__ = ["EventStream", "Job", "StreamForm", "encode", "event", "whole_reply"]

LOGGER = logs.make_logger(__name__)

HEARTBEAT = b": \n\n"
DONE = b"data: [DONE]\n\n"

_PIECE = 65536  # bytes that are sent at once


def encode(value: Any) -> bytes:
    """JSON in UTF-8. NaN and infinite numbers become null."""
    try:
        return pydantic_core.to_json(value, inf_nan_mode="null")
    except (pydantic_core.PydanticSerializationError, UnicodeEncodeError):
        # Half of a surrogate pair, which a model may write in a call: only an escape can tell it.
        return json.dumps(value).encode()


def event(value: Any) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


class StreamForm:
    """The form of a stream: server-sent events as OpenAI sends them."""

    media_type = "text/event-stream"
    heartbeat = HEARTBEAT

    n_prompt = 0
    """Tokens of the prompt; known when `chunk` is called."""

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        """What is sent for a chunk; may be empty."""
        return event(chunk)

    def beat(self) -> bytes:
        """What is sent while no chunks come."""
        return self.heartbeat

    def end(self) -> bytes:
        """What is sent after the last chunk."""
        return DONE

    def error(self, error: ApiError) -> bytes:
        """What is sent for an error after the beginning of the stream."""
        return event(error.content)


class Job:
    """A running call and a watch on its client. Both end with the ``with`` block.

    The job collects the output of the call whether or not the client reads it, so a slow client
    delays no other request.
    """

    def __init__(
        self, service: Service, call: QueuedCall | EmbeddingCall, scope: Scope, receive: Receive
    ) -> None:
        self._replies: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._gone = False
        self._work = asyncio.ensure_future(service.run(call, self._put, client_of(scope)))
        self._watch = asyncio.ensure_future(self._watch_client(receive))
        for task in (self._work, self._watch):
            task.add_done_callback(lambda _: self._news.set())

    async def take(self, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """Waits for replies and returns them. Empty: the call has ended, or the time is over.

        Raises:
            ClientGone: the client closed the connection.
            Exception: an exception of the call, after its last reply.
        """
        if not self._replies and not self._work.done():
            # The call may end while this gives up waiting.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout_s)
        self._news.clear()
        if self._gone:
            raise ClientGone
        replies, self._replies = self._replies, []
        if not replies and self._work.done():
            self._work.result()
        return replies

    @property
    def ended(self) -> bool:
        return self._work.done() and not self._replies

    async def __aenter__(self) -> Job:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [self._work, self._watch]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _put(self, reply: dict[str, Any]) -> None:
        self._replies.append(reply)
        self._news.set()

    async def _watch_client(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True


async def whole_reply(
    service: Service,
    call: QueuedCall | EmbeddingCall,
    request: Request,
    form: Callable[[dict[str, Any]], Any] = lambda reply: reply,
) -> Response:
    """The reply in one piece. ``form`` changes it."""
    async with Job(service, call, request.scope, request.receive) as job:
        (reply,) = await job.take()
    # It may have many megabytes: texts with log probabilities, or embeddings.
    content = await run_in_threadpool(lambda: encode(form(reply)))
    return Response(content, media_type="application/json")


class EventStream(Response):
    """A stream of chunks: by default server-sent events, one for each chunk, then ``[DONE]``.

    While no chunks come, the stream sends comments, or what its form has for that. An error before
    the first chunk is raised and gets its own HTTP status; a later error is sent as a part of the
    stream.

    Args:
        heartbeat_s: seconds without data after which a comment is sent.
        send_timeout_s: seconds after which a client that reads nothing ends the call.
        form: the form of the stream. ``None`` (default): OpenAI's.
    """

    def __init__(
        self,
        service: Service,
        call: QueuedCall,
        *,
        heartbeat_s: float,
        send_timeout_s: float,
        form: StreamForm | None = None,
    ) -> None:
        self._form = form or StreamForm()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers, media_type=self._form.media_type)
        del self.headers["content-length"]
        self._service = service
        self._call = call
        self._heartbeat_s = heartbeat_s
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with Job(self._service, self._call, scope, receive) as job:
            chunks = await job.take(self._heartbeat_s)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                await self._send_all(job, chunks, send)
            except ClientGone:
                return

    async def _send_all(self, job: Job, chunks: list[dict[str, Any]], send: Send) -> None:
        async def write(data: bytes) -> None:
            # A piece has the whole time, so that a slow client need not read much in it.
            for begin in range(0, max(1, len(data)), _PIECE):
                await write_piece(data[begin : begin + _PIECE])

        async def write_piece(data: bytes, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": data, "more_body": more}
            try:
                await asyncio.wait_for(send(message), self._send_timeout_s)
            except asyncio.TimeoutError:
                LOGGER.info(
                    "a client was disconnected, because it read nothing for %g seconds",
                    self._send_timeout_s,
                )
                raise ClientGone from None

        try:
            ended = False  # only `take` tells of an error
            while not ended:
                self._form.n_prompt = self._call.n_prompt
                if chunks:
                    await write(b"".join(map(self._form.chunk, chunks)) or self._form.heartbeat)
                else:
                    await write(self._form.beat())
                chunks = await job.take(self._heartbeat_s)
                ended = job.ended and not chunks
            end = self._form.end()
        except ClientGone:
            raise
        except Exception as error:
            if is_surprise(error):
                LOGGER.error("a stream failed with an unexpected error", exc_info=error)
            end = self._form.error(from_exception(error))
        await write_piece(end, more=False)
