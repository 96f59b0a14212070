"""``/v1/embeddings`` and its names in other interfaces, with a small encoder."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from gguf import PoolingType
from tests.python.support.server_support import (
    KEY,
    FakeModel,
    FakeText,
    Running,
    sent,
    serving,
    told,
    wait_until,
)
from tests.python.support.tiny_bert import N_CTX, WORDS, TinyBert, write_tiny_bert
from typer.testing import CliRunner

from specbranch_cpp.cli import app
from specbranch_cpp.cli import serve as command
from specbranch_cpp.errors import InvalidArgument, ModelLoadError
from specbranch_cpp.server.embeddings.model import EmbeddingFailed, EmbeddingModel, TextRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = ["the cat sat on the mat", "a dog ran", "the dog sat on a cat"]
TOO_LONG = "cat " * N_CTX


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TinyBert]:
    path = tmp_path_factory.mktemp("bert") / "tiny.gguf"
    return path, write_tiny_bert(path)


@pytest.fixture(scope="module")
def model(bert: tuple[Path, TinyBert]) -> Iterator[EmbeddingModel]:
    with EmbeddingModel(bert[0], n_threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def server(model: EmbeddingModel) -> Iterator[Running]:
    with serving(FakeModel(), FakeText(), model, api_keys=(KEY,)) as running:
        running.client.headers["Authorization"] = f"Bearer {KEY}"
        yield running


@pytest.fixture
def expected(bert: tuple[Path, TinyBert]) -> Any:
    return np.stack([bert[1].embed(text) for text in TEXTS])


def vectors_of(reply: Any) -> Any:
    assert reply.status_code == 200, reply.text
    return np.array([one["embedding"] for one in reply.json()["data"]])


def test_vectors_are_those_of_the_model(model: EmbeddingModel, expected: Any) -> None:
    found = model.embed(TEXTS)
    np.testing.assert_allclose(found.vectors, expected, atol=2e-3)
    assert np.abs(expected[0] - expected[1]).max() > 0.1  # otherwise it would say little
    assert found.n_tokens == [8, 5, 8]


def test_neighbours_do_not_matter(model: EmbeddingModel) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, N_CTX - 2))) for _ in range(40)]
    together = model.embed(texts).vectors
    alone = np.concatenate([model.embed([text]).vectors for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_file_without_pooling_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "plain.gguf"
    truth = write_tiny_bert(path, pooling=None)
    with pytest.raises(InvalidArgument, match="it must be one of mean, cls, last"):
        EmbeddingModel(path)
    with pytest.raises(InvalidArgument, match="pooling is 'max'; it must be one of"):
        EmbeddingModel(path, pooling="max")
    with EmbeddingModel(path, pooling="mean") as mean, EmbeddingModel(path, pooling="cls") as first:
        np.testing.assert_allclose(mean.embed(TEXTS).vectors[1], truth.embed(TEXTS[1]), atol=2e-3)
        assert np.abs(first.embed(TEXTS).vectors - mean.embed(TEXTS).vectors).max() > 0.05


def test_files_that_are_refused(tmp_path: Path, bert: tuple[Path, TinyBert]) -> None:
    with pytest.raises(ModelLoadError, match="cannot be read: No such file"):
        EmbeddingModel(tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(ModelLoadError, match="not a GGUF file"):
        EmbeddingModel(tmp_path / "text.gguf")
    write_tiny_bert(tmp_path / "rank.gguf", pooling=PoolingType.RANK)
    with pytest.raises(ModelLoadError, match="ranks texts"):
        EmbeddingModel(tmp_path / "rank.gguf")
    (tmp_path / "cut.gguf").write_bytes(bert[0].read_bytes()[:-4096])
    with pytest.raises(
        ModelLoadError, match=r"could not load the embedding model; exit code 1; .+"
    ):
        EmbeddingModel(tmp_path / "cut.gguf")
    with pytest.raises(InvalidArgument, match=rf"n_ctx is {N_CTX + 1}; it must be in 1 .. {N_CTX}"):
        EmbeddingModel(bert[0], n_ctx=N_CTX + 1)


def test_long_texts(model: EmbeddingModel) -> None:
    with pytest.raises(TextRefused, match=rf"text 1 has {N_CTX + 2} tokens; 1 .. {N_CTX}"):
        model.embed(["cat", TOO_LONG])
    found = model.embed(["cat", TOO_LONG], truncate=True)
    assert found.n_tokens == [3, N_CTX]
    assert np.isfinite(found.vectors).all()


def test_a_process_that_dies_is_replaced(bert: tuple[Path, TinyBert], expected: Any) -> None:
    with EmbeddingModel(bert[0], n_threads=1) as model:
        model._process.kill()  # type: ignore[union-attr]
        with pytest.raises(EmbeddingFailed, match="ended; SIGKILL"):
            model.embed(TEXTS)
        np.testing.assert_allclose(model.embed(TEXTS).vectors, expected, atol=2e-3)
    with pytest.raises(EmbeddingFailed, match="is closed"):
        model.embed(TEXTS)


def test_what_llama_cpp_cannot_compute(tmp_path: Path) -> None:
    """The process lives on."""
    path = tmp_path / "damaged.gguf"
    truth = write_tiny_bert(path, damaged="dog")
    with EmbeddingModel(path, n_threads=1) as model:
        with pytest.raises(EmbeddingFailed, match="the model gives numbers that are not finite"):
            model.embed(["the cat", "the dog"])
        with pytest.raises(EmbeddingFailed, match=r"llama\.cpp failed; UnicodeEncodeError"):
            model.embed(["half of a pair \ud800"])
        process = model._process
        np.testing.assert_allclose(
            model.embed(["the cat"]).vectors[0], truth.embed("the cat"), atol=2e-3
        )
        assert model._process is process is not None


def test_close_ends_a_call(bert: tuple[Path, TinyBert]) -> None:
    model = EmbeddingModel(bert[0], n_threads=1)
    outcome: list[BaseException] = []
    begun = threading.Event()

    def work() -> None:
        try:
            while True:
                model.embed(TEXTS)
                begun.set()
        except EmbeddingFailed as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(begun.is_set)
    model.close()
    thread.join(120)
    assert not thread.is_alive()
    assert len(outcome) == 1


def test_openai_reply(server: Running, expected: Any) -> None:
    reply = server.client.post("/v1/embeddings", json={"input": TEXTS, "model": "any", "user": "u"})
    np.testing.assert_allclose(vectors_of(reply), expected, atol=2e-3)
    content = reply.json()
    assert content["object"] == "list"
    assert content["model"] == "tiny-bert"
    assert content["usage"] == {"prompt_tokens": 21, "total_tokens": 21}
    assert [one["index"] for one in content["data"]] == [0, 1, 2]
    coded = server.client.post(
        "/v1/embeddings", json={"input": TEXTS[1], "encoding_format": "base64"}
    ).json()["data"]
    values = np.frombuffer(base64.b64decode(coded[0]["embedding"]), "<f4")
    np.testing.assert_allclose(values, expected[1], atol=2e-3)


def test_other_interfaces(server: Running, expected: Any) -> None:
    post = server.client.post
    for path, field in (("/embedding", "content"), ("/embeddings", "input")):
        found = post(path, json={field: TEXTS}).json()
        assert [one["index"] for one in found] == [0, 1, 2]
        np.testing.assert_allclose([one["embedding"][0] for one in found], expected, atol=2e-3)
    found = post("/api/embed", json={"model": "any", "input": [*TEXTS, TOO_LONG]}).json()
    np.testing.assert_allclose(found["embeddings"][:3], expected, atol=2e-3)
    assert found["prompt_eval_count"] == 21 + N_CTX
    assert found["total_duration"] > 0
    old = post("/api/embeddings", json={"prompt": TEXTS[2]}).json()
    np.testing.assert_allclose(old["embedding"], expected[2], atol=2e-3)


@pytest.mark.parametrize("nothing", ["", []])
def test_nothing_of_ollama(server: Running, nothing: Any) -> None:
    """Clients load a model so."""
    found = server.client.post("/api/embed", json={"model": "any", "input": nothing})
    assert (found.status_code, found.json()["embeddings"]) == (200, [])
    assert found.json()["prompt_eval_count"] == 0
    for body in ({"prompt": ""}, {}):
        found = server.client.post("/api/embeddings", json=body)
        assert (found.status_code, found.json()) == (200, {"embedding": []})
    assert server.client.post("/api/embed", json={"input": 0}).status_code == 400


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "input: Field required", "input"),
    ({"input": []}, "input is empty; it must have at least one text", "input"),
    ({"input": ""}, "input is an empty text", "input"),
    ({"input": ["cat", ""]}, "input[1] is an empty text", "input[1]"),
    ({"input": ["cat", None]}, "input[1] is None; it must be a text", "input[1]"),
    ({"input": [1, 2]}, "input[0] is tokens; send text", "input[0]"),
    ({"input": [[1, 2]]}, "input[0] is tokens; send text", "input[0]"),
    ({"input": ["cat"] * 2049}, "input has 2049 texts; it may have at most 2048", "input"),
    ({"input": [*["cat"] * 20, TOO_LONG]}, f"the embedding model reads at most {N_CTX};",
     "input[20]"),
    ({"input": "cat", "dimensions": 8}, "dimensions is 8; this model has 32", "dimensions"),
    ({"input": "cat", "encoding_format": "int8"}, "encoding_format", "encoding_format"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "words", "param"), BAD)
def test_bad_requests(server: Running, body: Any, words: str, param: str) -> None:
    error = server.client.post("/v1/embeddings", json=body).json()["error"]
    assert words in error["message"]
    assert error["param"] == param
    assert vectors_of(server.client.post("/v1/embeddings", json={"input": "cat"})).shape == (1, 32)


def test_the_openai_client(server: Running, expected: Any) -> None:
    from tests.python.support.openai_clients import openai_client

    with openai_client(server) as client:
        found = client.embeddings.create(model="any", input=TEXTS)
    np.testing.assert_allclose([one.embedding for one in found.data], expected, atol=2e-3)


def test_the_ollama_client(model: EmbeddingModel, expected: Any) -> None:
    ollama = pytest.importorskip("ollama")
    with serving(FakeModel(), FakeText(), model) as running:
        client = ollama.Client(running.url)
        found = client.embed(model="any", input=TEXTS)
        old = client.embeddings(model="any", prompt=TEXTS[0])
        client._client.close()
        np.testing.assert_allclose(found.embeddings, expected, atol=2e-3)
        np.testing.assert_allclose(old.embedding, expected[0], atol=2e-3)


def test_langchain(server: Running, expected: Any) -> None:
    """By default it sends the tokens of OpenAI's tokenizer, which are refused."""
    openai = pytest.importorskip("openai")
    langchain = pytest.importorskip("langchain_openai")
    given = {"base_url": f"{server.url}/v1", "api_key": KEY}
    with httpx.Client() as connection:
        found = langchain.OpenAIEmbeddings(
            **given, model="any", check_embedding_ctx_length=False, http_client=connection
        )
        np.testing.assert_allclose(found.embed_documents(TEXTS), expected, atol=2e-3)
    with (
        openai.OpenAI(**given) as client,
        pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"),
    ):
        client.embeddings.create(model="any", input=[[791, 8415]])


def test_both_models_are_listed(server: Running) -> None:
    listed = server.client.get("/v1/models").json()["data"]
    assert [one["id"] for one in listed] == ["fake", "tiny-bert"]
    assert listed[1]["meta"] == {
        "architecture": "bert", "n_ctx": N_CTX, "n_embd": 32, "pooling": "mean",
    }  # fmt: skip
    assert server.client.get("/v1/models/tiny-bert").json() == listed[1]
    message = told(server.client.get("/v1/models/none"), 404, "model_not_found")["message"]
    assert message.endswith("this server has 'fake' and 'tiny-bert'")


def test_keys_are_needed(server: Running) -> None:
    reply = server.client.post("/v1/embeddings", json={}, headers={"Authorization": "Bearer x"})
    told(reply, 401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embedding"])
def test_a_server_without_the_model(path: str) -> None:
    with serving(FakeModel(), FakeText()) as running:
        reply = running.client.post(path, json={"input": "x"})
        error = told(reply, 501, "unsupported_endpoint")
        assert reply.headers["x-should-retry"] == "false"
        assert "start it with --embedding-model FILE" in error["message"]
        reply = running.client.post("/api/embed", json={"input": "x"})
        assert "--embedding-model" in reply.json()["error"]


def test_a_text_and_embeddings_take_turns(
    model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both need all cores, so a request for embeddings waits for a text that is generated."""
    text = FakeText()
    embed = model.embed
    # The order of the answers would say little: their clients are threads of the test.
    had_ended: list[bool] = []

    def noted(texts: Any, *, truncate: bool = False) -> Any:
        had_ended.append("end #held" in text.log)
        return embed(texts, truncate=truncate)

    monkeypatch.setattr(model, "embed", noted)
    with serving(FakeModel(), text, model) as running, ThreadPoolExecutor(2) as pool:
        post = running.client.post
        try:
            writing = pool.submit(post, "/v1/completions", json={"prompt": "#held"})
            wait_until(lambda: text.log)
            embedding = pool.submit(post, "/v1/embeddings", json={"input": "cat"})
            wait_until(lambda: running.service.queue.n_waiting == 1 or had_ended)
            assert had_ended == []
        finally:
            text.released.set()
        assert [one.result().status_code for one in (writing, embedding)] == [200, 200]
    assert had_ended == [True]


def test_a_client_that_goes_frees_the_queue(
    model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = model.embed
    begun, left = threading.Event(), threading.Event()
    n_calls = 0

    def held(texts: Any, *, truncate: bool = False) -> Any:
        nonlocal n_calls
        n_calls += 1
        begun.set()
        assert left.wait(120)
        return embed(texts, truncate=truncate)

    monkeypatch.setattr(model, "embed", held)
    with serving(FakeModel(), FakeText(), model) as running:
        texts = ["cat"] * 1600  # 100 groups
        with sent(running, "", "/v1/embeddings", input=texts):
            assert begun.wait(120)
        try:
            # The server's loop has heard of it; it goes round many times for each group.
            wait_until(lambda: not running.server.server_state.connections)
        finally:
            left.set()
        assert running.client.post("/v1/embeddings", json={"input": "cat"}).status_code == 200
        assert n_calls < 100


def test_the_command_line(
    bert: tuple[Path, TinyBert], monkeypatch: pytest.MonkeyPatch, expected: Any
) -> None:
    given: list[EmbeddingModel] = []

    def run(*_: Any, embedding_model: EmbeddingModel, ready: Any, listeners: Any) -> bool:
        assert [each.getsockname()[0] for each in listeners] == ["127.0.0.1"]
        ready("http://somewhere:1")
        given.append(embedding_model)
        return True

    monkeypatch.setattr("specbranch_cpp.server.run", run)
    monkeypatch.setattr(command, "Engine", lambda *_, **__: None)
    path = str(bert[0])
    asked = ["serve", "--embedding-model", path, "--embedding-ctx-size", "12", "--threads", "1"]
    result = CliRunner().invoke(app, [*asked, "--port", "0"])
    assert result.exit_code == 0, result.output
    assert "embeddings: tiny-bert" in result.output
    with given[0] as model:
        assert model.n_ctx == 12
        np.testing.assert_allclose(model.embed(TEXTS).vectors, expected, atol=2e-3)
    for option, value in (("--embedding-pooling", "cls"), ("--embedding-gpu-layers", "-1")):
        result = CliRunner().invoke(app, ["serve", option, value], env={"COLUMNS": "200"})
        assert result.exit_code == 2
        assert f"{value} has no effect without --embedding-model" in result.output
    result = CliRunner().invoke(app, ["serve", "--port", "0", "--embedding-model", "none.gguf"])
    assert result.exit_code == 1
    assert "cannot be read: No such file" in " ".join(result.output.split())
