"""The routes of the interfaces of other servers. What reads long texts runs on other threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from specbranch_cpp.server.embeddings.call import EmbeddingCall
from specbranch_cpp.server.errors import ApiError, BadRequest
from specbranch_cpp.server.interfaces import embeddings, llama_server, ollama, ollama_models, vllm
from specbranch_cpp.server.interfaces.call import Body
from specbranch_cpp.server.interfaces.messages_request import (
    CountFields,
    MessageFields,
    count_tokens,
    message_call,
)
from specbranch_cpp.server.interfaces.responses_request import ResponseFields, response_call
from specbranch_cpp.server.requests import check_model, read_object
from specbranch_cpp.server.streams import whole_reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.embeddings.model import EmbeddingModel
    from specbranch_cpp.server.interfaces.call import InterfaceCall
    from specbranch_cpp.server.model_card import ModelCard
    from specbranch_cpp.server.service import Service

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
    service: Service
    embeddings: EmbeddingModel | None

    async def embed(
        self,
        model: EmbeddingModel,
        request: Request,
        texts: list[str],
        field: str,
        form: Callable[[dict[str, Any]], Any],
        *,
        truncate: bool = False,
    ) -> Response:
        """Queues texts for the embedding model and replies in this form."""
        call = EmbeddingCall(request.url.path, model, texts, field, truncate=truncate)
        return await whole_reply(self.service, call, request, form)

    async def read(self, kind: type[BodyT], request: Request) -> BodyT:
        return check_model(kind, read_object(await request.body(), self.max_depth))


def add_interfaces(
    app: FastAPI,
    engine: Engine,
    model: ModelCard,
    max_depth: int,
    answer: Callable[[Request, InterfaceCall], Awaitable[Response]],
    service: Service,
    embedding_model: EmbeddingModel | None,
) -> None:
    """Adds the routes.

    Args:
        app: the application.
        engine: the engine that it serves.
        model: what the server says of its model.
        max_depth: largest depth of a body.
        answer: queues a call and replies.
        service: the queue.
        embedding_model: a model for embeddings, if the server has one.
    """
    served = _Served(app, engine, model, max_depth, answer, service, embedding_model)
    _add_llama_server(served)
    _add_ollama(served)
    _add_openai(served)
    _add_anthropic(served)
    _add_embeddings(served)


def _add_openai(served: _Served) -> None:
    app = served.app

    @app.post("/v1/responses")
    async def responses(request: Request) -> Response:
        fields = await served.read(ResponseFields, request)
        return await served.answer(request, response_call(fields))

    @app.api_route("/v1/responses/{name:path}", methods=[*READ, "DELETE", "POST"])
    async def one_response(name: str) -> Response:
        raise ApiError(404, f"response {name!r:.100} is not here: this server keeps no responses",
                       code="not_found")  # fmt: skip


def _add_anthropic(served: _Served) -> None:
    app, engine = served.app, served.engine

    @app.post("/v1/messages")
    async def messages(request: Request) -> Response:
        fields = await served.read(MessageFields, request)
        return await served.answer(request, message_call(fields))

    @app.post("/v1/messages/count_tokens")
    async def count(request: Request) -> JSONResponse:
        fields = await served.read(CountFields, request)
        return JSONResponse(await run_in_threadpool(count_tokens, engine, fields))


def _add_embeddings(served: _Served) -> None:
    app = served.app

    @app.post("/v1/embeddings")
    async def of_openai(request: Request) -> Response:
        model = embeddings.needed(served.embeddings)
        fields = await served.read(embeddings.OpenAIFields, request)
        embeddings.check_dimensions(fields.dimensions, model)
        texts = embeddings.texts_of(fields.input, "input")
        form = embeddings.of_openai(model, fields.encoding_format)
        return await served.embed(model, request, texts, "input", form)

    @app.post("/embedding")
    @app.post("/embeddings")
    async def of_llama_server(request: Request) -> Response:
        model = embeddings.needed(served.embeddings)
        fields = await served.read(embeddings.LlamaServerFields, request)
        field = "input" if fields.content is None else "content"
        value = getattr(fields, field)
        if value is None:
            raise BadRequest("content is missing; it must be a text or a list of texts", "content")
        texts = embeddings.texts_of(value, field)
        return await served.embed(model, request, texts, field, embeddings.of_llama_server)

    @app.post("/api/embed")
    async def of_ollama(request: Request) -> Response:
        model = embeddings.needed(served.embeddings)
        fields = await served.read(embeddings.OllamaFields, request)
        embeddings.check_dimensions(fields.dimensions, model)
        form = embeddings.of_ollama(model)
        if fields.asks_nothing:
            return JSONResponse(form(embeddings.NOTHING))
        texts = embeddings.texts_of(fields.input, "input")
        return await served.embed(model, request, texts, "input", form, truncate=fields.truncate)

    @app.post("/api/embeddings")
    async def of_ollama_prompt(request: Request) -> Response:
        model = embeddings.needed(served.embeddings)
        fields = await served.read(embeddings.OllamaPromptFields, request)
        if not fields.prompt:
            return JSONResponse({"embedding": []})
        texts = embeddings.texts_of(fields.prompt, "prompt")
        form = embeddings.of_ollama_prompt
        return await served.embed(model, request, texts, "prompt", form, truncate=True)


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

    @app.post("/apply-template")
    async def apply_template(request: Request) -> JSONResponse:
        data = read_object(await request.body(), served.max_depth)
        return JSONResponse(await run_in_threadpool(llama_server.applied_template, engine, data))

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
        fields = await served.read(ollama.ChatFields, request)
        if fields.asks_nothing:
            return JSONResponse(ollama.loaded(fields, model.id))
        return await served.answer(request, ollama.chat(fields))

    @app.post("/api/generate")
    async def generate(request: Request) -> Response:
        fields = await served.read(ollama.GenerateFields, request)
        if fields.asks_nothing:
            return JSONResponse(ollama.loaded(fields, model.id))
        return await served.answer(request, ollama.generate(fields))

    @app.api_route("/api/version", methods=READ)
    async def version() -> JSONResponse:
        return JSONResponse(ollama_models.version())

    @app.api_route("/api/tags", methods=READ)
    async def tags() -> JSONResponse:
        return JSONResponse(ollama_models.tags(engine, model))

    @app.api_route("/api/ps", methods=READ)
    async def loaded_models() -> JSONResponse:
        return JSONResponse(ollama_models.loaded_models(engine, model))

    @app.post("/api/show")
    async def show() -> JSONResponse:
        return JSONResponse(ollama_models.shown(engine, model))
