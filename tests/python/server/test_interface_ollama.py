"""Ollama's own client against the running server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_models import MESSAGES, PROMPT, chat, completion
from tests.python.support.server_support import Running, serving

from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.interfaces.ollama import ChatFields, GenerateFields, OllamaForm
from specbranch_cpp.server.interfaces.ollama import chat as chat_call
from specbranch_cpp.server.interfaces.ollama import generate as generate_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp import Engine

ollama = pytest.importorskip("ollama")

SAMPLING: dict[str, Any] = {"temperature": 0.7, "seed": 11, "top_p": 0.95, "min_p": 0.05}
OPTIONS = {**SAMPLING, "num_predict": 30, "num_ctx": 512}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"size": {"enum": [1, 2, 5]}},
    "required": ["size"],
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "measure", "description": "Measures.", "parameters": SCHEMA},
}


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, alias="own", request_timeout_s=60) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[Any]:
    client = ollama.Client(host=server.url)
    yield client
    client._client.close()


def test_the_model(client: Any, models: Engine) -> None:
    (model,) = client.list().models
    assert model.model == "own"
    assert client.ps().models[0].model == "own"
    shown = client.show("own")
    assert "completion" in shown.capabilities
    assert "thinking" not in shown.capabilities
    assert shown.template == models.chat_template
    info = shown.modelinfo
    architecture = models.metadata["general.architecture"]
    assert info["general.architecture"] == architecture
    assert info[f"{architecture}.context_length"] == models.n_ctx  # clients fill it
    assert isinstance(info[f"{architecture}.attention.layer_norm_rms_epsilon"], float)
    assert isinstance(info["general.name"], str)


def test_what_clients_check_first(server: Running, models: Engine) -> None:
    def get(path: str) -> dict[str, Any]:
        content: dict[str, Any] = server.client.get(path).json()
        return content

    version = get("/api/version")["version"]
    assert tuple(map(int, version.split("."))) >= (0, 13, 4)  # of Codex; Copilot Chat: 0.6.4
    (model,) = get("/api/tags")["models"]
    assert re.fullmatch("[0-9a-f]{64}", model["digest"])
    assert model["size"] == Path(models.model_paths[0]).stat().st_size
    (running,) = get("/api/ps")["models"]
    assert (running["context_length"], running["size_vram"]) == (models.n_ctx, 0)
    assert running["digest"] == model["digest"]
    assert "expires_at" in running


@pytest.mark.parametrize("keep_alive", [None, -1, 300, "5m", "10m0s"])
def test_a_model_is_loaded_without_a_text(server: Running, keep_alive: Any) -> None:
    asked = {"model": "own", "prompt": "", "suffix": "", "system": "", "template": "",
             "options": None, "keep_alive": keep_alive}  # fmt: skip
    reply = server.client.post("/api/generate", json=asked).json()
    assert (reply["response"], reply["done"], reply["done_reason"]) == ("", True, "load")
    reply = server.client.post("/api/chat", json={"messages": [], "keep_alive": keep_alive}).json()
    assert reply["message"] == {"role": "assistant", "content": ""}
    assert (reply["done"], reply["done_reason"]) == (True, "load")


@pytest.mark.parametrize("keep_alive", [0, 0.0, "0", "0s", "0m"])
def test_a_model_is_unloaded_in_words(server: Running, keep_alive: Any) -> None:
    asked = {"prompt": "", "keep_alive": keep_alive}
    assert server.client.post("/api/generate", json=asked).json()["done_reason"] == "unload"


def test_an_empty_suffix_is_none(client: Any) -> None:
    words = MESSAGES[0]["content"]
    plain = client.generate("own", words, options=OPTIONS)
    assert client.generate("own", words, suffix="", options=OPTIONS).response == plain.response


def test_a_call_that_is_cut_is_text(server: Running) -> None:
    asked = {"messages": MESSAGES, "tools": [TOOL], "tool_choice": "required",
             "options": SAMPLING | {"num_predict": 9}}  # fmt: skip
    lines = server.client.post("/api/chat", json=asked).text.splitlines()
    parts = [json.loads(line) for line in lines]
    assert parts[-1]["done_reason"] == "length"
    assert not any(part["message"].get("tool_calls") for part in parts)
    whole = server.client.post("/api/chat", json={**asked, "stream": False}).json()
    assert "tool_calls" not in whole["message"]


def cut_chunks(*arguments: str) -> list[dict[str, Any]]:
    """A stream with these calls, which a limit ends."""
    calls = [{"index": i, "id": str(i), "function": {"name": "f", "arguments": text}}
             for i, text in enumerate(arguments)]  # fmt: skip
    head = {"model": "m", "timings": dict.fromkeys(
        ("prompt_n", "cache_n", "predicted_n", "prompt_ms", "predicted_ms"), 1)}  # fmt: skip
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"tool_calls": calls}, None),
        ({}, "length"),
    ]
    return [{**head, "choices": [{"delta": delta, "finish_reason": reason}]}
            for delta, reason in deltas]  # fmt: skip


def test_a_cut_call_beside_a_complete_one() -> None:
    form = OllamaForm("chat")
    data = b"".join(map(form.chunk, cut_chunks('{"x": 1}', '{"x": "un', "")))
    first, last = (json.loads(line) for line in data.splitlines())
    function = {"index": 0, "name": "f", "arguments": {"x": 1}}
    assert first["message"]["tool_calls"] == [{"id": "0", "function": function}]
    assert first["message"]["content"] == (
        '{"name": "f", "arguments": {"x": "un{"name": "f", "arguments": '
    )
    assert last["done_reason"] == "length"


def test_several_calls_can_be_told_apart() -> None:
    """Open WebUI joins the calls of one index."""
    (line, _) = b"".join(map(OllamaForm("chat").chunk, cut_chunks("{}", "{}"))).splitlines()
    calls = json.loads(line)["message"]["tool_calls"]
    assert [(call["id"], call["function"]["index"]) for call in calls] == [("0", 0), ("1", 1)]
    reply: dict[str, Any] = cut_chunks()[-1]
    message = {"content": None, "tool_calls": [
        {"id": name, "function": {"name": "f", "arguments": "{}"}} for name in "ab"]}  # fmt: skip
    reply["choices"] = [{"message": message, "finish_reason": "tool_calls"}]
    calls = OllamaForm("chat").whole(reply)["message"]["tool_calls"]
    assert [(call["id"], call["function"]["index"]) for call in calls] == [("a", 0), ("b", 1)]


def test_half_of_a_surrogate_pair_in_a_call() -> None:
    """A model may write it, and json.loads reads it; UTF-8 has no such character."""
    arguments = '{"x": "\\ud83d"}'
    line, _ = b"".join(map(OllamaForm("chat").chunk, cut_chunks(arguments))).splitlines()
    (call,) = json.loads(line)["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"x": "\ud83d"}


def test_results_name_their_calls() -> None:
    calls = [{"id": name, "function": {"name": "measure"}} for name in "abc"]
    results = [{"role": "tool", "content": name, "tool_call_id": name} for name in "cab"]
    messages = [*MESSAGES, {"role": "assistant", "tool_calls": calls}, *results]
    told = chat_call(ChatFields.model_validate({"messages": messages})).arguments["messages"]
    assert [one["tool_call_id"] for one in told[-3:]] == ["c", "a", "b"]
    for result in results:  # older clients know no ids
        result["tool_name"] = "measure" if result.pop("tool_call_id") == "c" else "other"
    told = chat_call(ChatFields.model_validate({"messages": messages})).arguments["messages"]
    assert [one["tool_call_id"] for one in told[-3:]] == ["a", "b", "c"]


def test_many_results_find_their_calls_soon() -> None:
    # Looking at all waiting calls for each result would take minutes.
    n = 50_000
    calls = [{"id": f"i{i}", "function": {"name": f"n{i % 7}"}} for i in range(n)]
    results: list[dict[str, Any]] = [
        {"role": "tool", "content": "", "tool_call_id": f"i{n - 1 - i}"} for i in range(n // 2)
    ]
    results += [{"role": "tool", "content": "", "tool_name": f"n{i % 7}"} for i in range(n // 4)]
    results += [{"role": "tool", "content": ""} for _ in range(n - n // 2 - n // 4 + 1)]
    messages = [{"role": "assistant", "content": "", "tool_calls": calls}, *results]
    told = chat_call(ChatFields.model_validate({"messages": messages})).arguments["messages"]
    answered = [one["tool_call_id"] for one in told[1:]]
    assert answered[:2] == [f"i{n - 1}", f"i{n - 2}"]
    assert answered[n // 2 : n // 2 + 2] == ["i0", "i1"]
    assert len(set(answered)) == n + 1  # the last one answers no call


def test_chat(client: Any, models: Engine) -> None:
    expected = chat(models, MESSAGES, max_tokens=30, **SAMPLING)
    text = expected["choices"][0]["message"]["content"]
    reply = client.chat("own", MESSAGES, options=OPTIONS)
    assert reply.message.content == text
    assert (reply.done, reply.done_reason) == (True, "length")
    assert reply.eval_count == 30
    assert reply.prompt_eval_count == expected["usage"]["prompt_tokens"]
    parts = list(client.chat("own", MESSAGES, options=OPTIONS, stream=True))
    assert "".join(part.message.content for part in parts) == text
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def test_generate(client: Any, models: Engine) -> None:
    expected = chat(models, MESSAGES, max_tokens=30, **SAMPLING)
    words = MESSAGES[0]["content"]
    reply = client.generate("own", words, options=OPTIONS)
    assert reply.response == expected["choices"][0]["message"]["content"]
    raw = completion(models, PROMPT, max_tokens=30, **SAMPLING)["choices"][0]["text"]
    assert client.generate("own", PROMPT, raw=True, options=OPTIONS).response == raw
    parts = client.generate("own", PROMPT, raw=True, options=OPTIONS, stream=True)
    assert "".join(part.response for part in parts) == raw


def check_logprobs(reply: Any, text: str, n_top: int) -> None:
    """Checks the log-probabilities of a reply."""
    assert "".join(one.token for one in reply.logprobs) == text
    for one in reply.logprobs:
        assert one.logprob <= 0.0
        assert len(one.top_logprobs or ()) == n_top


def test_logprobs(client: Any, server: Running) -> None:
    options = SAMPLING | {"num_predict": 5}
    asked: dict[str, Any] = {"options": options, "logprobs": True, "top_logprobs": 2}
    chatted = client.chat("own", MESSAGES, **asked)
    check_logprobs(chatted, chatted.message.content, 2)
    parts = list(client.chat("own", MESSAGES, **asked, stream=True))
    assert [one for part in parts for one in part.logprobs or ()] == chatted.logprobs
    for raw in (False, True):
        words = PROMPT if raw else MESSAGES[0]["content"]
        whole = client.generate("own", words, raw=raw, **asked)
        check_logprobs(whole, whole.response, 2)
        parts = list(client.generate("own", words, raw=raw, **asked, stream=True))
        assert [one for part in parts for one in part.logprobs or ()] == whole.logprobs
        alone = client.generate("own", words, raw=raw, options=options, logprobs=True)
        check_logprobs(alone, alone.response, 0)
        assert client.generate("own", words, raw=raw, options=options).logprobs is None
        none = client.generate("own", words, raw=raw, options=options, logprobs=False)
        assert none.logprobs is None
    body = {"prompt": PROMPT, "raw": True, "stream": False, **asked}
    for one in server.client.post("/api/generate", json=body).json()["logprobs"]:
        for each in (one, *one["top_logprobs"]):
            assert bytes(each["bytes"]).decode() == each["token"]


def test_the_bytes_of_a_token_that_is_no_text() -> None:
    lists = {"tokens": ["bytes:\\xe2\\x82"], "token_logprobs": [-1.0],
             "top_logprobs": [{"é": -0.5, "bytes:\\xe2\\x82": -1.0}]}  # fmt: skip
    reply: dict[str, Any] = cut_chunks()[-1]
    reply["choices"] = [{"text": "x", "logprobs": lists, "finish_reason": "length"}]
    (one,) = OllamaForm("generate", n_top=1).whole(reply)["logprobs"]
    top = {"token": "é", "logprob": -0.5, "bytes": [0xC3, 0xA9]}
    token = {"token": "\\xe2\\x82", "logprob": -1.0, "bytes": [0xE2, 0x82]}
    assert one == token | {"top_logprobs": [top]}


def test_nothing_is_cut(server: Running) -> None:
    body = {"messages": MESSAGES, "stream": False, "options": {"num_predict": 2}}
    for truncate, ignored in ((False, None), (None, None), (True, "truncate")):
        reply = server.client.post("/api/chat", json=body | {"truncate": truncate})
        assert reply.status_code == 200, reply.text
        assert reply.headers.get("x-ignored-fields") == ignored
    body = {"prompt": "x", "truncate": True, "stream": False, "options": {"num_predict": 2}}
    for raw in (False, True):
        reply = server.client.post("/api/generate", json=body | {"raw": raw})
        assert reply.headers["x-ignored-fields"] == "truncate"


def test_images_in_results_are_told_of() -> None:
    call = {"id": "1", "function": {"name": "measure"}}
    result = {"role": "tool", "content": "plot", "images": ["", ""], "tool_call_id": "1"}
    messages = [*MESSAGES, {"role": "assistant", "tool_calls": [call]}, result]
    told = chat_call(ChatFields.model_validate({"messages": messages})).arguments["messages"]
    image = "[image: this model reads text only]"
    assert told[-1]["content"] == f"plot\n{image}\n{image}"
    result["content"] = ""
    told = chat_call(ChatFields.model_validate({"messages": messages})).arguments["messages"]
    assert told[-1]["content"] == f"{image}\n{image}"


def test_json(client: Any) -> None:
    reply = client.chat("own", MESSAGES, format=SCHEMA, options=SAMPLING)
    assert json.loads(reply.message.content)["size"] in (1, 2, 5)
    reply = client.generate("own", "x", format="json", options=SAMPLING | {"num_predict": 60})
    assert reply.response.lstrip().startswith("{")


def test_calls_and_their_results(server: Running, client: Any) -> None:
    # Ollama's interface has no tool_choice, but the server reads OpenAI's.
    asked = {"model": "own", "messages": MESSAGES, "tools": [TOOL], "tool_choice": "required",
             "options": SAMPLING}  # fmt: skip
    whole = server.client.post("/api/chat", json={**asked, "stream": False}).json()
    (call,) = whole["message"]["tool_calls"]
    assert call["function"]["name"] == "measure"
    assert isinstance(call["function"]["arguments"], dict)
    lines = server.client.post("/api/chat", json=asked).text.splitlines()
    parts = [json.loads(line) for line in lines]
    calls = [one for part in parts for one in part["message"].get("tool_calls", ())]
    assert [one["function"] for one in calls] == [call["function"]]
    assert parts[-1]["done"]
    history = [
        *MESSAGES,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "measure", "content": "5 cm"},
    ]
    assert client.chat("own", history, options=OPTIONS).eval_count == 30


def test_thoughts() -> None:
    messages = [{"role": "user", "content": "x"},
                {"role": "assistant", "content": "y", "thinking": "hm"},
                {"role": "user", "content": "z"}]  # fmt: skip

    def arguments(**fields: Any) -> dict[str, Any]:
        return chat_call(ChatFields.model_validate({"messages": messages, **fields})).arguments

    assert arguments()["messages"][1]["reasoning_content"] == "hm"
    assert arguments(think=False)["chat_template_kwargs"] == {"enable_thinking": False}
    assert arguments(think="low")["chat_template_kwargs"] == {"reasoning_effort": "low"}
    assert "chat_template_kwargs" not in arguments()

    def generated(**fields: Any) -> dict[str, Any]:
        return generate_call(GenerateFields.model_validate({"prompt": "x", **fields})).arguments

    assert generated(think=False)["chat_template_kwargs"] == {"enable_thinking": False}
    assert generated(raw=True, think=False)["prompt"] == "x"
    with pytest.raises(BadRequest, match="think is given with raw or suffix"):
        generated(raw=True, think=True)


def test_null_is_the_default() -> None:
    nothing = dict.fromkeys(("stream", "raw", "system", "suffix", "think", "options"))
    given = generate_call(GenerateFields.model_validate({"prompt": "x", **nothing})).arguments
    assert given == generate_call(GenerateFields(prompt="x")).arguments
    messages = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": [
        {"function": {"name": "measure", "arguments": {"size": 1}}}]}]  # fmt: skip
    fields = ChatFields.model_validate({"messages": messages, "stream": None})
    assert fields.stream
    assert fields.messages[-1].content == ""


def test_no_field_is_overwritten() -> None:
    def arguments(**fields: Any) -> dict[str, Any]:
        return chat_call(ChatFields.model_validate({"messages": MESSAGES, **fields})).arguments

    assert arguments()["max_tokens"] == arguments(max_tokens=None)["max_tokens"] == -1
    assert arguments(max_tokens=5)["max_tokens"] == 5
    assert arguments(max_tokens=5, options={"num_predict": 5})["max_tokens"] == 5
    assert arguments(options={"num_predict": None})["max_tokens"] == -1
    assert arguments(max_completion_tokens=5)["max_completion_tokens"] == 5
    low = {"reasoning_effort": "low"}
    assert arguments(**low)["chat_template_kwargs"] == low
    form = {"type": "json_object"}
    for fields, name in (
        ({"max_tokens": 5, "options": {"num_predict": 9}}, "options.num_predict"),
        ({"options": {"max_tokens": 5, "num_predict": 9}}, "options.num_predict"),
        ({"temperature": 0.1, "options": {"temperature": 0.9}}, "options.temperature"),
        ({"format": SCHEMA, "response_format": form}, "format"),
        ({"think": "high", **low}, "think"),
    ):
        with pytest.raises(BadRequest, match=f"^{name} and .* different values") as error:
            arguments(**fields)
        assert error.value.param == name


def test_errors(client: Any, server: Running) -> None:
    with pytest.raises(ollama.ResponseError, match="top_p is 3"):
        client.chat("own", MESSAGES, options={"top_p": 3})
    with pytest.raises(ollama.ResponseError, match="images is given; this server reads text"):
        client.chat("own", [{"role": "user", "content": "x", "images": [b"png"]}])
    with pytest.raises(ollama.ResponseError, match="this path does not exist"):
        client.pull("other")
    reply = server.client.post("/api/generate", json={"prompt": "x", "context": [1, 2]})
    assert "context is given" in reply.json()["error"]
