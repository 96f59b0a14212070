"""The routes of the interfaces of other servers. What reads long texts runs on other threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from specbranch_cpp.server.errors import ApiError
from specbranch_cpp.server.interfaces import llama_server, ollama, vllm
from specbranch_cpp.server.interfaces.call import Body
from specbranch_cpp.server.interfaces.responses_request import ResponseFields, response_call
from specbranch_cpp.server.requests import check_model, read_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.interfaces.call import InterfaceCall
    from specbranch_cpp.server.model_card import ModelCard

__all__ = ["READ", "add_interfaces"]

READ = ["GET", "HEAD"]

BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True)
class _Served:
    """What the routes share: see `add_interfaces`."""

    app: FastAPI
    engine: Engine
    model: ModelCard
    max_depth: int
    answer: Callable[[Request, InterfaceCall], Awaitable[Response]]

    async def read(self, kind: type[BodyT], request: Request) -> BodyT:
        return check_model(kind, read_object(await request.body(), self.max_depth))


def add_interfaces(
    app: FastAPI,
    engine: Engine,
    model: ModelCard,
    max_depth: int,
    answer: Callable[[Request, InterfaceCall], Awaitable[Response]],
) -> None:
    """Adds the routes.

    Args:
        app: the application.
        engine: the engine that it serves.
        model: what the server says of its model.
        max_depth: largest depth of a body.
        answer: queues a call and replies.
    """
    served = _Served(app, engine, model, max_depth, answer)
    _add_llama_server(served)
    _add_ollama(served)
    _add_openai(served)


def _add_openai(served: _Served) -> None:
    app = served.app

    @app.post("/v1/responses")
    async def responses(request: Request) -> Response:
        fields = await served.read(ResponseFields, request)
        return await served.answer(request, response_call(fields))

    @app.api_route("/v1/responses/{name:path}", methods=[*READ, "DELETE"])
    async def one_response(name: str) -> Response:
        raise ApiError(404, f"response {name!r:.100} is not here: this server keeps no responses",
                       code="not_found")  # fmt: skip

    @app.post("/v1/embeddings")
    async def embeddings() -> Response:
        raise ApiError(
            501,
            "this server generates text and makes no embeddings; serve an embedding model with "
            "another server",
            code="unsupported_endpoint",
        )


def _add_llama_server(served: _Served) -> None:
    app, engine, model = served.app, served.engine, served.model

    @app.post("/completion")
    async def completion(request: Request) -> Response:
        fields = await served.read(llama_server.CompletionFields, request)
        call = await run_in_threadpool(llama_server.completion, engine, fields)
        return await served.answer(request, call)

    @app.post("/infill")
    async def infill(request: Request) -> Response:
        fields = await served.read(llama_server.InfillFields, request)
        call = await run_in_threadpool(llama_server.infill, engine, fields)
        return await served.answer(request, call)

    @app.post("/tokenize")
    async def tokenize(request: Request) -> JSONResponse:
        data = read_object(await request.body(), served.max_depth)
        if "prompt" in data and "content" not in data:
            prompt = check_model(vllm.PromptFields, data)
            return JSONResponse(await run_in_threadpool(vllm.tokenized, engine, prompt))
        fields = check_model(llama_server.TextFields, data)
        return JSONResponse(await run_in_threadpool(llama_server.tokenized, engine, fields))

    @app.api_route("/tokenizer_info", methods=READ)
    async def tokenizer_info() -> JSONResponse:
        return JSONResponse(vllm.tokenizer_info(engine))

    @app.post("/detokenize")
    async def detokenize(request: Request) -> JSONResponse:
        fields = await served.read(llama_server.TokenFields, request)
        return JSONResponse(await run_in_threadpool(llama_server.detokenized, engine, fields))

    @app.api_route("/props", methods=READ)
    async def props() -> JSONResponse:
        return JSONResponse(llama_server.props(engine, model.id))


def _add_ollama(served: _Served) -> None:
    app, engine, model = served.app, served.engine, served.model

    @app.post("/api/chat")
    async def chat(request: Request) -> Response:
        return await served.answer(
            request, ollama.chat(await served.read(ollama.ChatFields, request))
        )

    @app.post("/api/generate")
    async def generate(request: Request) -> Response:
        return await served.answer(
            request, ollama.generate(await served.read(ollama.GenerateFields, request))
        )

    @app.api_route("/api/version", methods=READ)
    async def version() -> JSONResponse:
        return JSONResponse(ollama.version())

    @app.api_route("/api/tags", methods=READ)
    @app.api_route("/api/ps", methods=READ)
    async def tags() -> JSONResponse:
        return JSONResponse(ollama.tags(engine, model.id, model.created))

    @app.post("/api/show")
    async def show() -> JSONResponse:
        return JSONResponse(ollama.shown(engine))
