"""The ASGI application: its routes and its middleware."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from specbranch_cpp._support import logs
from specbranch_cpp.async_engine import AsyncEngine
from specbranch_cpp.errors import EngineDied, SpecBranchError
from specbranch_cpp.server.adapters import ServedAdapters
from specbranch_cpp.server.auth import Gate
from specbranch_cpp.server.cors import Cors
from specbranch_cpp.server.error_forms import error_response
from specbranch_cpp.server.errors import ApiError, ClientGone, from_exception, is_surprise
from specbranch_cpp.server.interfaces.call import (
    InterfaceCall,
    ReplyForm,
    checked_call,
    without_refused_effort,
)
from specbranch_cpp.server.interfaces.routes import READ, add_interfaces
from specbranch_cpp.server.limits import BodyLimits
from specbranch_cpp.server.metrics import Metrics
from specbranch_cpp.server.model_card import ModelCard, embedding_entry
from specbranch_cpp.server.request_counter import RequestCounter
from specbranch_cpp.server.requests import parse_scales, read_object
from specbranch_cpp.server.service import QueuedCall, Service
from specbranch_cpp.server.settings import ServerSettings
from specbranch_cpp.server.slots import Slots
from specbranch_cpp.server.streams import EventStream, whole_reply
from specbranch_cpp.server.targets import AbsoluteTargets
from specbranch_cpp.server.timelines import Timelines, parse_seen

if TYPE_CHECKING:
    from starlette.types import Scope

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.embeddings.model import EmbeddingModel
    from specbranch_cpp.server.service import AsyncCalls

__all__ = ["create_app"]

LOGGER = logs.make_logger(__name__)

PAGE = Path(str(resources.files("specbranch_cpp.server"))) / "page"
_PLAIN = re.compile(r"[A-Za-z_]\w*(\.\w+|\[\d+\])*", re.ASCII)  # such as tools[1]
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def create_app(
    engine: Engine,
    settings: ServerSettings | None = None,
    *,
    text_engine: AsyncCalls | None = None,
    embedding_model: EmbeddingModel | None = None,
) -> FastAPI:
    """An ASGI application that serves one engine. `run` serves the application with uvicorn.

    The application does not close the engine. Requests run in the order of arrival, as many at once
    as the engine can; those of several API keys take turns.

    Args:
        engine: the engine to serve. No other code should use it at the same time.
        settings: the settings. ``None`` (default): the default settings.
        text_engine: an object that generates instead of ``AsyncEngine.of(engine)``.
        embedding_model: a model for ``/v1/embeddings``, which the application does not close.
            ``None`` (default): requests for embeddings are refused.

    Raises:
        InvalidArgument: see `ServerSettings.check_answers`.
    """
    settings = settings or ServerSettings()
    settings.check_answers(engine)
    metrics = Metrics()
    service = Service(engine, text_engine or AsyncEngine.of(engine), settings, metrics)
    slots = Slots(engine)
    metrics.watch(service.queue, slots)
    engine.on_end(metrics.ended)
    app = FastAPI(title="specbranch", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    adapters = ServedAdapters(engine.lora_adapters)
    _add_calls(app, engine, service, settings, adapters, embedding_model)
    _add_adapters(app, service, settings, adapters)
    _add_health(app, service)
    if settings.metrics:
        _add_metrics(app, metrics)
    if settings.slots:
        _add_slots(app, service, slots, Timelines(engine, slots))
    if settings.page:
        _add_page(app)
    app.add_exception_handler(ClientGone, _answer_nobody)
    app.add_exception_handler(HTTPException, _answer_http)
    for kind in (ApiError, SpecBranchError):
        app.add_exception_handler(kind, _answer_error)
    # A request passes the last middleware first.
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Gate, settings=settings)
    endpoints = {path for path in _paths(app) if "{" not in path}
    app.add_middleware(RequestCounter, metrics=metrics, endpoints=endpoints)
    if settings.cors_origins:
        app.add_middleware(Cors, settings=settings)
    app.add_middleware(AbsoluteTargets)
    return app


def _add_calls(
    app: FastAPI,
    engine: Engine,
    service: Service,
    settings: ServerSettings,
    adapters: ServedAdapters,
    embedding_model: EmbeddingModel | None,
) -> None:
    model = ModelCard(engine, settings.alias)

    async def answer(request: Request, *, chat: bool) -> Response:
        def read(body: bytes) -> InterfaceCall:
            data = read_object(body, settings.max_json_depth)
            return checked_call(data, ReplyForm(), chat=chat)

        return await reply(request, await service.side_work.read(request, read))

    async def reply(request: Request, given: InterfaceCall) -> Response:
        if given.effort is not None:
            keep = partial(without_refused_effort, engine, given)
            given = await service.side_work.compute(request, keep)
        arguments = adapters.default | given.arguments | {"model": model.id}
        call = QueuedCall(request.url.path, given.chat, arguments)
        response: Response
        if call.streamed:
            response = EventStream(
                service,
                call,
                heartbeat_s=settings.heartbeat_s,
                send_timeout_s=settings.send_timeout_s,
                form=given.form,
            )
        else:
            response = await whole_reply(service, call, request, given.form.whole)
        if given.unknown:
            response.headers["X-Ignored-Fields"] = _header(given.unknown)
        return response

    add_interfaces(app, engine, model, settings.max_json_depth, reply, service, embedding_model)

    entries = {model.id: model.entry}
    if embedding_model is not None:
        entries.setdefault(embedding_model.id, embedding_entry(embedding_model))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await answer(request, chat=False)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await answer(request, chat=True)

    @app.api_route("/v1/models", methods=READ)
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": list(entries.values())})

    @app.api_route("/v1/models/{name:path}", methods=READ)
    async def one_model(name: str) -> JSONResponse:
        if name not in entries:
            known = " and ".join(map(repr, entries))
            raise ApiError(
                404,
                f"model {name!r:.100} does not exist; this server has {known}",
                param="model",
                code="model_not_found",
            )
        return JSONResponse(entries[name])


def _add_adapters(
    app: FastAPI, service: Service, settings: ServerSettings, adapters: ServedAdapters
) -> None:
    @app.api_route("/lora-adapters", methods=READ)
    async def list_adapters() -> JSONResponse:
        return JSONResponse(adapters.entries)

    @app.post("/lora-adapters")
    async def scale_adapters(request: Request) -> JSONResponse:
        parse = partial(parse_scales, max_depth=settings.max_json_depth)
        adapters.use(await service.side_work.read(request, parse))
        return JSONResponse({"success": True})


def _add_health(app: FastAPI, service: Service) -> None:
    @app.api_route("/health", methods=READ)
    async def health() -> JSONResponse:
        await service.look()
        status, why = service.state
        content: dict[str, Any] = {
            "status": status,
            "requests_processing": service.queue.n_running,
            "requests_waiting": service.queue.n_waiting,
        }
        if why is not None:
            content |= ApiError(503, why, code=status).content
        return JSONResponse(content, 200 if why is None else 503)


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.api_route("/metrics", methods=READ)
    async def figures() -> Response:
        # An engine in another process is asked for its slots, here and below.
        text = await asyncio.to_thread(metrics.text)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _add_slots(app: FastAPI, service: Service, slots: Slots, timelines: Timelines) -> None:
    @app.api_route("/slots", methods=READ)
    async def states(request: Request) -> JSONResponse:
        entries = await asyncio.to_thread(slots.entries)
        if request.query_params.get("fail_on_no_slot") and all(
            entry["is_processing"] for entry in entries
        ):
            raise ApiError(
                503, f"all slots are busy; there are {len(entries)}", code="no_slot_available"
            )
        return JSONResponse(entries)

    @app.api_route("/slots/timelines", methods=READ)
    async def rows(request: Request) -> JSONResponse:
        seen = parse_seen(request.query_params.get("seen", ""))
        found = await asyncio.to_thread(timelines.look, seen)
        return JSONResponse({"requests_waiting": service.queue.n_waiting, **found})


class _PageFiles(StaticFiles):
    """Serves the page's files, with headers that forbid loads from other origins."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(PAGE_HEADERS | {"Cache-Control": "no-cache"})
        return response


def _add_page(app: FastAPI) -> None:
    @app.api_route("/", methods=READ)
    async def index() -> FileResponse:
        return FileResponse(
            PAGE / "index.html", headers=PAGE_HEADERS | {"Cache-Control": "no-store"}
        )

    app.mount("/page", _PageFiles(directory=PAGE, check_dir=False))


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, EngineDied):
        request.app.state.service.start_again(error)
    if is_surprise(error):
        what = request.method, request.url.path[:200]
        LOGGER.error("%s %s failed with an unexpected error", *what, exc_info=error)
    return error_response(from_exception(error), request.url.path)


async def _answer_http(request: Request, error: Exception) -> Response:
    """Answers requests that the framework refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    what = f"{request.method:.20} {request.url.path:.200}"
    if error.status_code == 404:
        told = ApiError(404, f"{what}: {_not_here(request)}", code="not_found")
    elif error.status_code == 405:
        told = ApiError(
            405, f"{what}: this path does not allow this method", code="method_not_allowed"
        )
    else:
        told = ApiError(error.status_code, str(error.detail))
    told.headers.update(error.headers or {})
    return error_response(told, request.url.path)


def _paths(app: FastAPI) -> set[str]:
    """The paths that the application answers; parameters of a path stand in braces."""
    paths = (getattr(route, "path", None) for route in app.routes)
    return {path for path in paths if isinstance(path, str)}


def _not_here(request: Request) -> str:
    """What to do about a path that does not exist: often the client's base URL is wrong."""
    path = request.url.path.rstrip("/")
    known = _paths(request.app)
    once = path.removeprefix("/v1")
    if path == "/v1":
        return "this is the base URL for clients of OpenAI; GET /v1/models lists the models"
    if path.startswith("/v1/v1/") and once in known:
        return f"this path does not exist; use {once}: the base URL has /v1 twice"
    if f"/v1{path}" in known:
        return f"this path does not exist; use /v1{path}: the base URL must end in /v1"
    if path.startswith("/v1/") and once in known:
        return f"this path does not exist; use {once}, without /v1"
    return "this path does not exist"


async def _answer_nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


def _header(names: list[str]) -> str:
    """At most 20 names for a header. Names that are not plain words, or places, are left out."""
    plain = [name for name in names if len(name) <= 64 and _PLAIN.fullmatch(name)]
    return ", ".join(plain[:20])
