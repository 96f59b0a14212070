"""The routes of the interfaces of other servers. What reads long texts runs on other threads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
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
from specbranch_cpp.server.streams import encode, whole_reply

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
ResultT = TypeVar("ResultT")
AskedT = TypeVar("AskedT", ollama.ChatFields, ollama.GenerateFields)


def _same(fields: BodyT) -> BodyT:
    return fields


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

    async def read(
        self, kind: type[BodyT], request: Request, make: Callable[[BodyT], ResultT]
    ) -> ResultT:
        """What a function makes of the fields of a body."""

        def read(body: bytes) -> ResultT:
            return make(check_model(kind, read_object(body, self.max_depth)))

        return await self.service.side_work.read(request, read)

    async def call(
        self, kind: type[BodyT], request: Request, make: Callable[[Engine, BodyT], InterfaceCall]
    ) -> Response:
        """Queues the call that a function makes with the engine, and replies."""
        fields = await self.read(kind, request, _same)
        side_work = self.service.side_work
        call = await side_work.compute(request, lambda: make(self.engine, fields))
        return await self.answer(request, call)

    async def compute(
        self, kind: type[BodyT], request: Request, make: Callable[[Engine, BodyT], Any]
    ) -> Response:
        """Replies with what a function makes with the engine, without the queue."""
        fields = await self.read(kind, request, _same)
        return await self.encoded(request, lambda: make(self.engine, fields))

    async def encoded(self, request: Request, make: Callable[[], Any]) -> Response:
        """Replies with what a function makes in a thread."""
        content = await self.service.side_work.compute(request, lambda: encode(make()))
        return Response(content, media_type="application/json")


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
        return await served.answer(
            request, await served.read(ResponseFields, request, response_call)
        )

    @app.api_route("/v1/responses/{name:path}", methods=[*READ, "DELETE", "POST"])
    async def one_response(name: str) -> Response:
        raise ApiError(404, f"response {name!r:.100} is not here: this server keeps no responses",
                       code="not_found")  # fmt: skip


def _add_anthropic(served: _Served) -> None:
    app = served.app

    @app.post("/v1/messages")
    async def messages(request: Request) -> Response:
        return await served.answer(request, await served.read(MessageFields, request, message_call))

    @app.post("/v1/messages/count_tokens")
    async def count(request: Request) -> Response:
        return await served.compute(CountFields, request, count_tokens)


def _add_embeddings(served: _Served) -> None:
    app = served.app

    @app.post("/v1/embeddings")
    async def of_openai(request: Request) -> Response:
        model = embeddings.needed(served.embeddings)

        def read(fields: embeddings.OpenAIFields) -> tuple[list[str], str]:
            embeddings.check_dimensions(fields.dimensions, model)
            return embeddings.texts_of(fields.input, "input"), fields.encoding_format

        texts, encoding = await served.read(embeddings.OpenAIFields, request, read)
        form = embeddings.of_openai(model, encoding)
        return await served.embed(model, request, texts, "input", form)

    @app.post("/embedding")
    @app.post("/embeddings")
    async def of_llama_server(request: Request) -> Response:
        model = embeddings.needed(served.embeddings)

        def read(fields: embeddings.LlamaServerFields) -> tuple[list[str], str]:
            field = "input" if fields.content is None else "content"
            value = getattr(fields, field)
            if value is None:
                raise BadRequest(
                    "content is missing; it must be a text or a list of texts", "content"
                )
            return embeddings.texts_of(value, field), field

        texts, field = await served.read(embeddings.LlamaServerFields, request, read)
        return await served.embed(model, request, texts, field, embeddings.of_llama_server)

    @app.post("/api/embed")
    async def of_ollama(request: Request) -> Response:
        model = embeddings.needed(served.embeddings)

        def read(fields: embeddings.OllamaFields) -> tuple[list[str], bool]:
            embeddings.check_dimensions(fields.dimensions, model)
            texts = [] if fields.asks_nothing else embeddings.texts_of(fields.input, "input")
            return texts, fields.truncate

        texts, truncate = await served.read(embeddings.OllamaFields, request, read)
        form = embeddings.of_ollama(model)
        if not texts:
            return JSONResponse(form(embeddings.NOTHING))
        return await served.embed(model, request, texts, "input", form, truncate=truncate)

    @app.post("/api/embeddings")
    async def of_ollama_prompt(request: Request) -> Response:
        model = embeddings.needed(served.embeddings)

        def read(fields: embeddings.OllamaPromptFields) -> list[str]:
            return embeddings.texts_of(fields.prompt, "prompt") if fields.prompt else []

        texts = await served.read(embeddings.OllamaPromptFields, request, read)
        if not texts:
            return JSONResponse({"embedding": []})
        form = embeddings.of_ollama_prompt
        return await served.embed(model, request, texts, "prompt", form, truncate=True)


def _add_llama_server(served: _Served) -> None:
    app, engine, model = served.app, served.engine, served.model

    @app.post("/completion")
    async def completion(request: Request) -> Response:
        return await served.call(llama_server.CompletionFields, request, llama_server.completion)

    @app.post("/infill")
    async def infill(request: Request) -> Response:
        return await served.call(llama_server.InfillFields, request, llama_server.infill)

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        def read(body: bytes) -> Callable[[], dict[str, Any]]:
            data = read_object(body, served.max_depth)
            if "prompt" in data and "content" not in data:
                return partial(vllm.tokenized, engine, check_model(vllm.PromptFields, data))
            return partial(
                llama_server.tokenized, engine, check_model(llama_server.TextFields, data)
            )

        return await served.encoded(request, await served.service.side_work.read(request, read))

    @app.api_route("/tokenizer_info", methods=READ)
    async def tokenizer_info() -> JSONResponse:
        return JSONResponse(vllm.tokenizer_info(engine))

    @app.post("/apply-template")
    async def apply_template(request: Request) -> Response:
        parse = partial(read_object, max_depth=served.max_depth)
        data = await served.service.side_work.read(request, parse)
        write = partial(llama_server.applied_template, engine, data)
        return await served.encoded(request, write)

    @app.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        return await served.compute(llama_server.TokenFields, request, llama_server.detokenized)

    @app.api_route("/props", methods=READ)
    async def props() -> JSONResponse:
        return JSONResponse(llama_server.props(engine, model.id))


def _add_ollama(served: _Served) -> None:
    app, engine, model = served.app, served.engine, served.model

    async def answer(
        kind: type[AskedT], request: Request, make: Callable[[AskedT], InterfaceCall]
    ) -> Response:
        def read(fields: AskedT) -> InterfaceCall | dict[str, Any]:
            return ollama.loaded(fields, model.id) if fields.asks_nothing else make(fields)

        asked = await served.read(kind, request, read)
        if isinstance(asked, dict):
            return JSONResponse(asked)
        return await served.answer(request, asked)

    @app.post("/api/chat")
    async def chat(request: Request) -> Response:
        return await answer(ollama.ChatFields, request, ollama.chat)

    @app.post("/api/generate")
    async def generate(request: Request) -> Response:
        return await answer(ollama.GenerateFields, request, ollama.generate)

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
