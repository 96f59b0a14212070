"""Other clients against the running server: LiteLLM, llama-index and the tool `llm`."""

from __future__ import annotations

import gc
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


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Closes what these clients leave open before another test begins."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore")
def test_litellm(server: Running, text: str) -> None:
    litellm = pytest.importorskip("litellm", reason="this test needs the extra clients")
    asked: dict[str, Any] = {
        "model": "openai/own", "api_base": f"{server.url}/v1", "api_key": KEY, "seed": 11,
        "messages": MESSAGES, **SAMPLING,
    }  # fmt: skip
    reply = litellm.completion(**asked)
    assert reply.choices[0].message.content == text
    assert reply.usage.completion_tokens == 24
    parts = litellm.completion(**asked, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == text


@pytest.mark.filterwarnings("ignore")
def test_llama_index(server: Running, text: str) -> None:
    module = pytest.importorskip(
        "llama_index.llms.openai_like", reason="this test needs the extra clients"
    )
    core = pytest.importorskip("llama_index.core.llms")
    llm = module.OpenAILike(
        model="own", api_base=f"{server.url}/v1", api_key=KEY, is_chat_model=True,
        additional_kwargs={"seed": 11}, **SAMPLING,
    )  # fmt: skip
    messages = [core.ChatMessage(role=one["role"], content=one["content"]) for one in MESSAGES]
    assert llm.chat(messages).message.content == text
    parts = list(llm.stream_chat(messages))
    assert parts[-1].message.content == text
    completed = llm.complete(MESSAGES[0]["content"])
    assert completed.text == text


def test_the_tool_llm(server: Running, text: str, tmp_path: Path) -> None:
    pytest.importorskip("llm", reason="this test needs the extra clients")
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
