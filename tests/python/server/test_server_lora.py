"""LoRA adapters over HTTP, with llama-server's field and endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_models import MESSAGES, PROMPT, TEMPLATE
from tests.python.support.server_support import KEY, Running, serving
from tests.python.support.tiny_lora import write_lora

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = {"prompt": PROMPT, "max_tokens": 20, "temperature": 0}
CHAT = {"messages": MESSAGES, "max_tokens": 20, "temperature": 0}
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def models(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("lora")
    files = [
        (write_lora(folder / f"{i}.gguf", pair[0], strength=0.5, seed=i,
                    texts={"adapter.lora.task_name": "a task"}), scale)
        for i, scale in ((0, 1.0), (1, 0.0))
    ]  # fmt: skip
    options: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1, "measure_costs": False}
    options["lookup"] = False  # long batches: matrices of floats round otherwise in them
    with Engine(*pair, n_ctx=512, lora=files, chat_template=TEMPLATE, **options) as engine:
        yield engine


@pytest.fixture
def server(models: Engine) -> Iterator[Running]:
    with serving(models, api_keys=(KEY,)) as running:
        yield running


def text(server: Running, body: dict[str, Any], **fields: Any) -> str:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    reply = server.client.post(path, json=body | fields, headers=AUTH)
    assert reply.status_code == 200, reply.text
    (choice,) = reply.json()["choices"]
    return str(choice["message"]["content"] if "messages" in body else choice["text"])


@pytest.mark.parametrize("body", [BODY, CHAT])
def test_a_request_chooses_its_adapters(
    server: Running, models: Engine, body: dict[str, Any]
) -> None:
    def told(lora: Any) -> str:
        if body is BODY:
            done: Any = models.create_completion(PROMPT, max_tokens=20, temperature=0.0, lora=lora)
            return str(done["choices"][0]["text"])
        done = models.create_chat_completion(MESSAGES, max_tokens=20, temperature=0.0, lora=lora)
        return str(done["choices"][0]["message"]["content"])

    assert text(server, body) == told(None)
    assert text(server, body, lora=None) == told(None)
    assert text(server, body, lora=[]) == told([]) != told(None)
    both = [{"id": 1, "scale": 0.5}, {"id": 0, "scale": -1}]
    assert text(server, body, lora=both) == told([(0, -1.0), (1, 0.5)]) != told(None)


def test_the_scales_of_the_server(server: Running, models: Engine) -> None:
    def scales() -> list[float]:
        reply = server.client.get("/lora-adapters", headers=AUTH)
        assert reply.status_code == 200
        entries = reply.json()
        assert [entry["id"] for entry in entries] == [0, 1]
        assert [entry["path"] for entry in entries] == [
            adapter.path for adapter in models.lora_adapters
        ]
        assert {entry["task_name"] for entry in entries} == {"a task"}
        return [entry["scale"] for entry in entries]

    def use(*entries: dict[str, Any]) -> None:
        reply = server.client.post("/lora-adapters", json=list(entries), headers=AUTH)
        assert (reply.status_code, reply.json()) == (200, {"success": True})

    first, second, none = (text(server, BODY, lora=[{"id": i, "scale": s}])
                           for i, s in ((0, 1), (1, 1), (0, 0)))  # fmt: skip
    assert len({first, second, none}) == 3
    assert scales() == [1.0, 0.0]
    assert text(server, BODY) == first
    use({"id": 1, "scale": 1.0})
    assert scales() == [0.0, 1.0]
    assert text(server, BODY) == second
    assert text(server, BODY, lora=[{"id": 0, "scale": 1}]) == first  # of this request alone
    assert text(server, BODY) == second
    use()
    assert scales() == [0.0, 0.0]
    assert text(server, BODY) == none


@pytest.mark.parametrize(
    ("scales", "word"),
    [
        ([{"id": 2, "scale": 1}], "lora[0][0] is 2; it must be in 0 .. 1"),
        ([{"id": -1, "scale": 1}], "[0].id is -1"),
        ([{"id": 0}], "[0].scale"),
        ([{"id": "0", "scale": 1}], "[0].id"),
        ([{"id": 0, "scale": "1"}], "[0].scale"),
        ([{"id": 0, "scale": 1e39}], "32-bit"),
        ([{"id": 0, "scale": 1}, {"id": 0, "scale": 2}], "twice"),
        ([3], "[0]"),
    ],
)
def test_wrong_scales_are_refused_everywhere(server: Running, scales: Any, word: str) -> None:
    for path, body in (("/lora-adapters", scales), ("/v1/completions", BODY | {"lora": scales})):
        reply = server.client.post(path, json=body, headers=AUTH)
        assert reply.status_code == 400, reply.text
        assert word in reply.json()["error"]["message"]
    assert server.client.get("/lora-adapters", headers=AUTH).json()[0]["scale"] == 1.0


def test_the_endpoints_need_a_key_and_an_array(server: Running) -> None:
    assert server.client.get("/lora-adapters").status_code == 401
    assert server.client.post("/lora-adapters", json=[]).status_code == 401
    reply = server.client.post("/lora-adapters", json={"id": 0, "scale": 1}, headers=AUTH)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_json")
    foreign = AUTH | {"Origin": "https://elsewhere.example"}
    assert server.client.post("/lora-adapters", json=[], headers=foreign).status_code == 403


def test_a_server_without_adapters(pair: tuple[Path, Path]) -> None:
    with Engine(pair[0], n_ctx=256, n_threads=1) as engine, serving(engine) as server:
        assert server.client.get("/lora-adapters").json() == []
        assert server.client.post("/lora-adapters", json=[]).json() == {"success": True}
        for lora in ([{"id": 0, "scale": 1}],):
            reply = server.client.post("/v1/completions", json=BODY | {"lora": lora})
            assert reply.status_code == 400
            assert "created without adapters" in reply.json()["error"]["message"]
        assert text(server, BODY, lora=[])
