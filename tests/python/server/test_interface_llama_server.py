"""llama-server's own endpoints, as llama.vim and llama.vscode use them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_models import (
    MESSAGES,
    PROMPT,
    SAMPLING,
    chat,
    completion,
)
from tests.python.support.server_support import Running, events, serving, told
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine
from specbranch_cpp.server.interfaces.llama_server import (
    CompletionFields,
    ExtraFile,
    InfillFields,
    TextFields,
    _files,
    tokenized,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASKED = {"n_predict": 24, "temperature": 0.7, "seed": 11}


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, request_timeout_s=60) as running:
        yield running


def post(server: Running, path: str, **fields: Any) -> dict[str, Any]:
    reply = server.client.post(path, json=fields)
    assert reply.status_code == 200, reply.text
    content: dict[str, Any] = reply.json()
    return content


def streamed(server: Running, path: str, **fields: Any) -> list[dict[str, Any]]:
    reply = server.client.post(path, json={**fields, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    return [json.loads(data) for data in events(reply.text) if data != "[DONE]"]


def test_completion(server: Running, models: Engine) -> None:
    expected = completion(models, PROMPT, **SAMPLING | {"max_tokens": 24})
    reply = post(server, "/completion", prompt=PROMPT, **ASKED)
    assert reply["content"] == expected["choices"][0]["text"]
    assert (reply["stop"], reply["stop_type"], reply["truncated"]) == (True, "limit", False)
    assert reply["tokens_predicted"] == 24
    assert reply["tokens_evaluated"] == expected["usage"]["prompt_tokens"]
    assert reply["prompt"] == PROMPT
    assert reply["generation_settings"]["seed"] == 11
    assert reply["timings"]["predicted_n"] == 24
    chunks = streamed(server, "/completion", prompt=PROMPT, **ASKED)
    assert "".join(chunk["content"] for chunk in chunks) == reply["content"]
    assert [chunk["stop"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["has_new_line"] == ("\n" in reply["content"])


def test_the_stop_string_is_named(server: Running) -> None:
    stop = post(server, "/completion", prompt=PROMPT, **ASKED)["content"][5:8]
    given = {"prompt": PROMPT, **ASKED, "stop": ["never there", stop]}
    reply = post(server, "/completion", **given)
    *_, last = streamed(server, "/completion", **given)
    for one in (reply, last):
        assert (one["stop_type"], one["stopping_word"]) == ("word", stop)


def test_the_prompt_of_a_chat(server: Running, models: Engine) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *MESSAGES]
    prompt = post(server, "/apply-template", messages=messages)["prompt"]
    assert prompt == "# system: Be brief.\n# user: Sort a list of numbers.\n# assistant:\n"
    answer = chat(models, messages, **SAMPLING)
    same = completion(models, prompt, **SAMPLING)
    assert same["choices"][0]["text"] == answer["choices"][0]["message"]["content"]
    begun = [*MESSAGES, {"role": "assistant", "content": "def"}]
    given = {"messages": begun, "continue_final_message": True}
    assert post(server, "/apply-template", **given)["prompt"].endswith("# assistant: def")
    reply = server.client.post("/apply-template", json={"messages": []})
    told(reply, 400, "invalid_value")


def test_null_is_the_default(server: Running) -> None:
    nothing = dict.fromkeys(("stream", "n_probs", "n_predict", "max_tokens"))
    assert post(server, "/completion", prompt=PROMPT, **ASKED, stream=None, n_probs=None)["stop"]
    given = {"prompt": "x", **nothing}
    assert CompletionFields.model_validate(given) == CompletionFields(prompt="x")
    given = {"input_suffix": None, "input_extra": None, "prompt": None}
    assert InfillFields.model_validate(given) == InfillFields()
    assert post(server, "/tokenize", content="a", add_special=None, with_pieces=None)["tokens"]


def test_several_prompts_are_refused(server: Running) -> None:
    reply = server.client.post("/completion", json={"prompt": ["a", "b"], **ASKED})
    told(reply, 400, "unsupported_value")
    assert "/v1/completions continues several" in reply.json()["error"]["message"]
    assert post(server, "/completion", prompt=["a"], **ASKED)["prompt"].endswith("a")
    reply = server.client.post("/completion", json={"prompt": "a", **ASKED, "n_indent": 4})
    assert reply.headers["X-Ignored-Fields"] == "n_indent"


def test_tokens_are_returned_on_request(server: Running, models: Engine) -> None:
    given = {"prompt": PROMPT, **ASKED}
    assert post(server, "/completion", **given)["tokens"] == []
    asked = {**given, "return_tokens": True}
    tokens = post(server, "/completion", **asked)["tokens"]
    chunks = streamed(server, "/completion", **asked)
    assert [token for chunk in chunks for token in chunk["tokens"]] == tokens
    assert chunks[-1]["tokens"] == []
    assert models.detokenize(tokens) == post(server, "/completion", **given)["content"]
    assert post(server, "/completion", **asked | {"n_predict": 0})["tokens"] == []
    reply = server.client.post("/completion", json={**asked, "return_tokens": "yes"})
    told(reply, 400, "invalid_value")


def test_token_ids_of_the_other_interface(server: Running) -> None:
    """vLLM's field, also with several texts."""
    given = {"prompt": PROMPT, "max_tokens": 8, "seed": 11, "return_token_ids": True, "n": 2}
    reply = post(server, "/v1/completions", **given)
    ids = [choice["token_ids"] for choice in reply["choices"]]
    assert [len(one) for one in ids] == [8, 8]
    chunks = streamed(server, "/v1/completions", **given)
    found: dict[int, list[int]] = {0: [], 1: []}
    prompts: dict[int, list[int]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        found[choice["index"]] += choice["token_ids"]
        prompts.setdefault(choice["index"], choice.get("prompt_token_ids"))
    assert [found[0], found[1]] == ids
    assert [prompts[0], prompts[1]] == [c["prompt_token_ids"] for c in reply["choices"]]


def test_a_piece_that_is_no_text_is_bytes(tiny: Path) -> None:
    with Engine(tiny, n_ctx=256, n_threads=1) as engine:
        tokens = tokenized(engine, TextFields(content="aé", with_pieces=True))["tokens"]
    assert [token["piece"] for token in tokens] == ["a", [0xC3], [0xA9]]


def test_options_of_a_stream_change_nothing(server: Running) -> None:
    """Each last event has the usage anyway."""
    given = {"prompt": PROMPT, "n_predict": 2, "temperature": 0}
    options = {"stream_options": {"include_usage": True}}
    chunks = streamed(server, "/completion", **given, **options)
    plain = streamed(server, "/completion", **given)
    assert [chunk["content"] for chunk in chunks] == [chunk["content"] for chunk in plain]
    assert chunks[-1]["tokens_predicted"] == 2


def test_a_prompt_of_texts_and_tokens(server: Running, models: Engine) -> None:
    tokens = models.tokenize(PROMPT)
    expected = post(server, "/completion", prompt=PROMPT, **ASKED)["content"]
    assert post(server, "/completion", prompt=tokens, **ASKED)["content"] == expected
    head, tail = models.detokenize(tokens[:3]), models.detokenize(tokens[3:])
    mixed = [head, *tokens[3:]]
    assert post(server, "/completion", prompt=mixed, **ASKED)["content"] == expected
    mixed = [*tokens[:3], tail]
    assert post(server, "/completion", prompt=mixed, **ASKED)["content"] == expected
    told(server.client.post("/completion", json={"prompt": []}), 400, None)
    told(server.client.post("/completion", json={"prompt": [10**7]}), 400, "invalid_value")


def test_0_tokens_read_the_prompt_for_later(server: Running) -> None:
    prompt = PROMPT + "    if n < 2:\n        return n\n" * 20
    reply = post(server, "/completion", prompt=prompt, n_predict=0, samplers=[], cache_prompt=True)
    assert reply["content"] == ""
    assert reply["tokens_evaluated"] > 128
    later = post(server, "/completion", prompt=prompt, n_predict=1)
    assert later["timings"]["cache_n"] > 100
    (last,) = streamed(server, "/completion", prompt=prompt, n_predict=0)
    assert (last["content"], last["stop"]) == ("", True)


def test_both_names_of_the_limit(server: Running) -> None:
    """llama-server, too, takes max_tokens where n_predict is missing."""
    for limits in (
        {"max_tokens": 3},
        {"max_tokens": 3, "n_predict": 3},
        {"max_tokens": 3, "n_predict": None},
        {"max_completion_tokens": 3},
        {"max_tokens": 5, "max_new_tokens": 3},
        {"n_predict": -2, "max_tokens": -1, "num_predict": 3},
    ):
        reply = post(server, "/completion", prompt="x", ignore_eos=True, **limits)
        assert reply["tokens_predicted"] == 3, limits
    assert post(server, "/completion", prompt="x", max_tokens=0)["content"] == ""
    for limits in ({"max_tokens": 3, "n_predict": 4}, {"max_tokens": 3, "n_predict": -1}):
        wrong = server.client.post("/completion", json={"prompt": "x", **limits})
        error = told(wrong, 400, None)
        assert error["message"].startswith("n_predict and max_tokens are given with different")
        assert error["param"] == "n_predict"
    wrong = server.client.post("/completion", json={"prompt": "x", "max_tokens": "3"})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "max_tokens"


def test_wrong_fields_are_named(server: Running) -> None:
    client = server.client
    reply = client.post("/completion", json={"prompt": "x", "n_probs": 3})
    assert told(reply, 400, "unsupported_value")["param"] == "n_probs"
    reply = client.post("/completion", json={"prompt": "x", "n_predict": "3"})
    assert told(reply, 400, "invalid_value")["param"] == "n_predict"
    reply = client.post("/completion", json={"prompt": "x", "top_p": 3})
    assert told(reply, 400, "invalid_value")["param"] == "top_p"
    reply = client.post("/completion", json={"prompt": "x", "n_predict": 1, "strange": 3})
    assert reply.headers["x-ignored-fields"] == "strange"
    usual = {"id_slot": 0, "t_max_prompt_ms": 500, "t_max_predict_ms": 500}
    reply = client.post("/completion", json={"prompt": "x", "n_predict": 1, **usual})
    assert reply.headers["x-ignored-fields"] == "t_max_predict_ms, t_max_prompt_ms"


@pytest.mark.parametrize("field", ["n", "n_cmpl"])
def test_a_reply_has_one_text(server: Running, field: str) -> None:
    for stream in (False, True):
        reply = server.client.post("/completion", json={"prompt": "x", field: 2, "stream": stream})
        error = told(reply, 400, "unsupported_value")
        assert error["message"].startswith("n is 2; it must be 1, because a reply")
    assert post(server, "/completion", prompt="x", n_predict=2, **{field: 1})["stop"]


def test_infill(tmp_path: Path) -> None:
    names = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    path = write_tiny_gguf(tmp_path / "fim.gguf", control_tokens=names)
    fields: dict[str, Any] = {"n_predict": 8, "temperature": 0.0, "seed": 1}
    with Engine(path, n_ctx=256, n_threads=1) as engine, serving(engine) as server:
        expected = completion(engine, "def f(", suffix=")\n", max_tokens=8, temperature=0.0, seed=1)
        reply = post(server, "/infill", input_prefix="def ", prompt="f(", input_suffix=")\n",
                     **fields)  # fmt: skip
        assert reply["content"] == expected["choices"][0]["text"]
        extra = [{"filename": "a.py", "text": "abc " * 10}]
        more = post(server, "/infill", input_prefix="def f(", input_suffix=")\n",
                    input_extra=extra, **fields)  # fmt: skip
        assert more["tokens_evaluated"] > reply["tokens_evaluated"] + 10
        assert more["prompt"].index("abc") < more["prompt"].index("def f(")
        # Of too much, the last part fits.
        extra = [{"text": "abc " * 500}]
        full = post(server, "/infill", input_prefix="def f(", input_suffix=")\n",
                    input_extra=extra, **fields)  # fmt: skip
        assert full["tokens_evaluated"] + 8 == 256
        # Whatever the name of the limit is.
        del fields["n_predict"]
        for name in ("max_tokens", "max_new_tokens"):
            full = post(server, "/infill", input_prefix="def f(", input_suffix=")\n",
                        input_extra=extra, ignore_eos=True, **{name: 5}, **fields)  # fmt: skip
            assert full["tokens_evaluated"] + 5 == 256
            assert full["tokens_predicted"] == 5


def test_what_editors_send(tmp_path: Path) -> None:
    """Bodies with the fields of llama.vscode and of llama.vim."""
    names = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    path = write_tiny_gguf(tmp_path / "fim.gguf", control_tokens=names)
    asked: dict[str, Any] = {
        "input_prefix": "def f():\n", "input_suffix": "\n", "input_extra": [],
        "prompt": "    ret", "n_predict": 16, "top_k": 40, "top_p": 0.99, "stream": False,
        "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True, "t_max_prompt_ms": 500,
        "t_max_predict_ms": 2500, "seed": 3,
    }  # fmt: skip
    vim = {"id_slot": 0, "n_indent": 4, "stop": ["\n\n"], "response_fields": ["content"]}
    warm_up = {"n_predict": 0, "samplers": [], "t_max_prompt_ms": 1, "t_max_predict_ms": 1}
    with Engine(path, n_ctx=256, n_threads=1) as engine, serving(engine) as server:
        for added in ({}, vim):
            reply = post(server, "/infill", **asked, **added)
            text = completion(engine, "def f():\n    ret", suffix="\n", max_tokens=16, top_k=40,
                              top_p=0.99, min_p=0.0, samplers=asked["samplers"], seed=3,
                              **{name: vim[name] for name in added if name == "stop"})  # fmt: skip
            assert reply["content"] == text["choices"][0]["text"]
        assert post(server, "/infill", **asked | warm_up)["content"] == ""


def test_other_files_have_the_marks_of_the_model(real_models: Path) -> None:
    path = next(iter(sorted(real_models.glob("qwen2.5-coder-0.5b*q4_0.gguf"))))
    with Engine(path, n_ctx=512, n_threads=1) as engine:
        tokens = _files(engine, [ExtraFile(text="x = 1", filename="a.py")])
        assert engine.detokenize(tokens, special=True) == (
            "<|repo_name|>project\n<|file_sep|>a.py\nx = 1\n<|file_sep|>"
        )


def test_a_model_that_cannot_fill_in_says_so(server: Running) -> None:
    reply = server.client.post("/infill", json={"input_prefix": "a", "input_suffix": "b"})
    assert "fill-in-the-middle" in told(reply, 400, "unsupported_value")["message"]


def test_tokenize(server: Running, models: Engine) -> None:
    tokens = post(server, "/tokenize", content=PROMPT)["tokens"]
    assert tokens == models.tokenize(PROMPT, add_bos=False, special=True)
    assert post(server, "/detokenize", tokens=tokens) == {"content": PROMPT, "prompt": PROMPT}
    pieces = post(server, "/tokenize", content=PROMPT, with_pieces=True)["tokens"]
    assert [one["id"] for one in pieces] == tokens
    assert "".join(one["piece"] for one in pieces) == PROMPT
    begin = post(server, "/tokenize", content=PROMPT, add_special=True)["tokens"]
    assert begin == models.tokenize(PROMPT, special=True)
    told(server.client.post("/tokenize", json={}), 400, "missing_required_parameter")
    told(server.client.post("/detokenize", json={"tokens": [-1]}), 400, "invalid_value")


def test_props(server: Running, models: Engine) -> None:
    found = server.client.get("/props").json()
    assert found["default_generation_settings"]["n_ctx"] == models.n_ctx
    assert found["total_slots"] == 1
    assert found["chat_template"] == models.chat_template
    assert "/" not in found["model_path"]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/chat/completions", "use /v1/chat/completions: the base URL must end in /v1"),
        ("/models", "use /v1/models: the base URL must end in /v1"),
        ("/v1/v1/completions", "use /v1/completions: the base URL has /v1 twice"),
        ("/v1/infill", "use /infill, without /v1"),
        ("/v1", "this is the base URL for clients of OpenAI; GET /v1/models lists the models"),
        ("/v1/", "this is the base URL for clients of OpenAI; GET /v1/models lists the models"),
        ("/nothing", "this path does not exist"),
    ],
)
def test_a_wrong_base_url_is_explained(server: Running, path: str, hint: str) -> None:
    assert told(server.client.post(path, json={}), 404, "not_found")["message"].endswith(hint)
