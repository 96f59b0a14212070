"""Languages with one kind of number write integers with a point: 16.0."""

from __future__ import annotations

import json
from typing import Any

import pytest

from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.interfaces.llama_server import CompletionFields
from specbranch_cpp.server.interfaces.messages_request import MessageFields
from specbranch_cpp.server.interfaces.responses_request import ResponseFields
from specbranch_cpp.server.requests import ChatBody, CompletionBody, check_model, parse


def parsed(**fields: Any) -> Any:
    return parse(CompletionBody, json.dumps({"prompt": "a", **fields}).encode(), 20)


@pytest.mark.parametrize("name", ["max_tokens", "top_k", "seed", "n", "logprobs"])
def test_whole_numbers_are_integers(name: str) -> None:
    value = getattr(parsed(**{name: 3.0}), name)
    assert value == 3
    assert type(value) is int


def test_chats_too() -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 16.0}
    assert parse(ChatBody, json.dumps(body).encode(), 20).max_tokens == 16


@pytest.mark.parametrize("value", [1.5, -2.5, 1e300, "3", True])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match="max_tokens"):
        parsed(max_tokens=value)


def test_real_numbers_stay() -> None:
    assert type(parsed(temperature=1.0).temperature) is float


def test_limits_of_other_interfaces_too() -> None:
    messages = [{"role": "user", "content": "a"}]
    body = check_model(MessageFields, {"messages": messages, "max_tokens": 16.0})
    assert type(body.max_tokens) is int
    assert check_model(ResponseFields, {"input": "a", "max_output_tokens": 16.0}).max_output_tokens
    assert check_model(CompletionFields, {"prompt": "a", "n_predict": -1.0}).limit == -1
    for wrong in (16.5, 1e300, "16", True):
        with pytest.raises(BadRequest, match="max_tokens"):
            check_model(MessageFields, {"messages": messages, "max_tokens": wrong})
