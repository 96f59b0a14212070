"""Models and adapters whose files have names that are no text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.rewrite_gguf import with_text
from tests.python.support.server_models import MESSAGES, TEMPLATE
from tests.python.support.server_support import FakeModel, FakeText, Running, serving
from tests.python.support.tiny_bert import write_tiny_bert
from tests.python.support.tiny_lora import write_lora

from specbranch_cpp import Engine
from specbranch_cpp.server import EmbeddingModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "mod\ufffdel"


@pytest.fixture(scope="module")
def server(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("names")
    files = [with_text(pair[0], folder / "nameless.gguf", "general.name", ""), pair[1]]
    files.append(write_lora(folder / "lora.gguf", pair[0]))
    links = [folder / os.fsdecode(name) for name in (b"mod\xffel.gguf", b"dr\xff.gguf", b"l\xff")]
    for link, file in zip(links, files, strict=True):
        link.symlink_to(file)
    target, draft, adapter = links
    options: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1, "measure_costs": False}
    options |= {"n_ctx": 512, "lora": [(adapter, 1.0)]}
    with (
        Engine(target, draft, chat_template=TEMPLATE, **options) as engine,
        serving(engine) as running,
    ):
        yield running


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/v1/models", lambda told: told["data"][0]["id"]),
        ("/api/tags", lambda told: told["models"][0]["name"]),
        ("/api/ps", lambda told: told["models"][0]["model"]),
        ("/props", lambda told: told["model_path"].removesuffix(".gguf")),
    ],
)
def test_the_name_of_the_file_is_in_unicode(
    server: Running, path: str, place: Callable[[Any], str]
) -> None:
    reply = server.client.get(path)
    assert reply.status_code == 200, reply.text
    assert place(reply.json()) == NAME


def test_so_are_those_of_the_draft_and_of_adapters(server: Running) -> None:
    (model,) = server.client.get("/v1/models").json()["data"]
    assert model["meta"]["draft"] == "dr\ufffd"
    assert server.client.get(f"/v1/models/{NAME}").json() == model
    (adapter,) = server.client.get("/lora-adapters").json()
    assert adapter["path"].endswith("/l\ufffd")


def test_texts_have_the_name(server: Running) -> None:
    text = server.client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2})
    chat = {"messages": MESSAGES, "max_tokens": 2}
    answer = server.client.post("/v1/chat/completions", json=chat)
    of_ollama = server.client.post("/api/chat", json=chat | {"stream": False})
    for reply in (text, answer, of_ollama):
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == NAME


def test_an_alias_may_come_from_such_a_file(pair: tuple[Path, Path]) -> None:
    alias = os.fsdecode(b"mod\xffel")
    with (
        Engine(pair[0], n_ctx=256, measure_costs=False) as engine,
        serving(engine, alias=alias) as running,
    ):
        reply = running.client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2})
        assert reply.json()["model"] == NAME


def test_embeddings_too(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path / "bert.gguf")
    file = with_text(tmp_path / "bert.gguf", tmp_path / "nameless.gguf", "general.name", "")
    link = tmp_path / os.fsdecode(b"mod\xffel.gguf")
    link.symlink_to(file)
    with (
        EmbeddingModel(link, n_threads=1) as model,
        serving(FakeModel(), FakeText(), model) as running,
    ):
        reply = running.client.post("/v1/embeddings", json={"input": "cat"})
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == NAME
        names = [one["id"] for one in running.client.get("/v1/models").json()["data"]]
        assert names == ["fake", NAME]
