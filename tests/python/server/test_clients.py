"""Other clients against the running server: LiteLLM, llama-index, LangChain and the tool `llm`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_models import MESSAGES, chat
from tests.python.support.server_support import KEY, Running, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from specbranch_cpp import Engine

SAMPLING: dict[str, Any] = {"max_tokens": 24, "temperature": 0.7}


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, api_keys=(KEY,), alias="own", request_timeout_s=60) as running:
        yield running


@pytest.fixture(scope="module")
def text(models: Engine) -> str:
    answer = chat(models, MESSAGES, **SAMPLING, seed=11)["choices"][0]["message"]["content"]
    assert isinstance(answer, str)
    return answer


MEASURE: Any = {
    "type": "function",
    "function": {
        "name": "measure",
        "description": "Measure a part.",
        "parameters": {
            "properties": {"part": {"type": "string"}, "twice": {"type": "boolean"}},
            "required": ["part", "twice"],
            "type": "object",
        },
    },
}


def made_call(arguments: dict[str, Any]) -> dict[str, Any]:
    """A call of MEASURE as a client sends it back."""
    function = {"name": "measure", "arguments": json.dumps(arguments)}
    return {"id": "call00001", "type": "function", "function": function}


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
LANGCHAIN = """
from langchain_openai import ChatOpenAI
llm = ChatOpenAI(base_url=url, api_key=key, model="own", seed=11, **sampling)
reply = llm.invoke(messages)
parts = list(llm.stream(messages, stream_usage=True))
said(
    [reply.content, reply.response_metadata["finish_reason"]],
    reply.usage_metadata["output_tokens"],
    "".join(part.content for part in parts),
    len([part for part in parts if part.content]),
)
"""
LANGCHAIN_TOOLS = """
from functools import reduce
from operator import add
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

@tool
def measure(part: str, twice: bool) -> str:
    "Measure a part."
    return f"{part}: 7 cm" if twice else f"{part}: 8 cm"

class Rating(BaseModel):
    stars: int = Field(ge=1, le=5)

llm = ChatOpenAI(base_url=url, api_key=key, model="own", seed=11, temperature=0.7, max_tokens=200)
asked = [HumanMessage(messages[0]["content"])]
bound = llm.bind_tools([measure], tool_choice="measure", strict=True)
reply = bound.invoke(asked)
whole = reduce(add, bound.stream(asked))
results = [measure.invoke(call) for call in reply.tool_calls]
assert all(isinstance(result, ToolMessage) for result in results)
after = ChatOpenAI(base_url=url, api_key=key, model="own", seed=11, **sampling)
said(
    [call["args"] for call in reply.tool_calls],
    [call["args"] for call in whole.tool_calls],
    after.bind_tools([measure], tool_choice="none").invoke([*asked, reply, *results]).content,
    llm.with_structured_output(Rating).invoke(asked).stars,
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


def test_langchain(server: Running, text: str) -> None:
    pytest.importorskip("langchain_openai")
    reply, n_tokens, streamed, n_parts = answers("langchain_openai", LANGCHAIN, server)
    assert reply == [text, "length"]
    assert n_tokens == 24
    assert streamed == text
    assert n_parts > 10


def test_tools_and_structures_of_langchain(server: Running, models: Engine) -> None:
    pytest.importorskip("langchain_openai")
    called, streamed, after, stars = answers("langchain_openai", LANGCHAIN_TOOLS, server)
    (arguments,) = called
    assert {name: type(value) for name, value in arguments.items()} == {"part": str, "twice": bool}
    assert streamed == called
    assert stars in range(1, 6)
    # The call and its result are in the prompt.
    result = f"{arguments['part']}: {7 if arguments['twice'] else 8} cm"
    history = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [made_call(arguments)]},
        {"role": "tool", "tool_call_id": "call00001", "content": result},
    ]
    expected = chat(models, history, tools=[MEASURE], tool_choice="none", **SAMPLING, seed=11)
    assert after == expected["choices"][0]["message"]["content"]


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
