"""Other clients against the running server: LiteLLM, llama-index and the tool `llm`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_models import MESSAGES, chat, chatting
from tests.python.support.server_support import KEY, Running, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from specbranch_cpp import Engine

SAMPLING: dict[str, Any] = {"max_tokens": 24, "temperature": 0.7}


@pytest.fixture(scope="module")
def models(pair: tuple[Path, Path]) -> Iterator[Engine]:
    with chatting(pair) as engine:
        yield engine


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, api_keys=(KEY,), alias="own", request_timeout_s=60) as running:
        yield running


@pytest.fixture(scope="module")
def text(models: Engine) -> str:
    answer = chat(models, MESSAGES, **SAMPLING, seed=11)["choices"][0]["message"]["content"]
    assert isinstance(answer, str)
    return answer


LITELLM = """
import litellm
asked = dict(model="openai/own", api_base=url, api_key=key, seed=11, messages=messages, **sampling)
reply = litellm.completion(**asked)
parts = litellm.completion(**asked, stream=True)
said(
    reply.choices[0].message.content,
    "".join(part.choices[0].delta.content or "" for part in parts),
    reply.usage.completion_tokens,
)
"""
LLAMA_INDEX = """
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
llm = OpenAILike(model="own", api_base=url, api_key=key, is_chat_model=True,
                 additional_kwargs={"seed": 11}, **sampling)
asked = [ChatMessage(role=one["role"], content=one["content"]) for one in messages]
parts = list(llm.stream_chat(asked))
said(
    llm.chat(asked).message.content,
    parts[-1].message.content,
    llm.complete(messages[0]["content"]).text,
)
"""
AROUND = """
import json, sys
url, key, messages, sampling = json.loads(sys.argv[1])
def said(*what):
    print("\\n" + json.dumps(what))
"""


def answers(package: str, program: str, server: Running) -> list[Any]:
    """What a client says. It runs in a process of its own, because it leaves connections open."""
    if importlib.util.find_spec(package) is None:
        pytest.skip("this test needs the extra clients")
    given = json.dumps([f"{server.url}/v1", KEY, MESSAGES, SAMPLING])
    done = subprocess.run(
        [sys.executable, "-c", AROUND + program, given],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_litellm(server: Running, text: str) -> None:
    assert answers("litellm", LITELLM, server) == [text, text, 24]


def test_llama_index(server: Running, text: str) -> None:
    assert answers("llama_index", LLAMA_INDEX, server) == [text, text, text]


def test_the_tool_llm(server: Running, text: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("llm") is None:
        pytest.skip("this test needs the extra clients")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: own\n  model_name: own\n  api_base: {server.url}/v1\n  api_key_name: own\n"
    )
    (tmp_path / "keys.json").write_text(json.dumps({"own": KEY}))
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "own", "--no-log", "-o", "seed", "11",
         "-o", "max_tokens", "24", "-o", "temperature", "0.7", MESSAGES[0]["content"]],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "LLM_USER_PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == text.rstrip("\n")
