"""A hundred ways to be wrong: each is answered as OpenAI would, and the next request is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError
from tests.python.support.server_malformed import GOOD, N_WAYS, malformed_requests, refused
from tests.python.support.server_support import Running, serving

from specbranch_cpp import Engine
from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.interfaces.llama_server import (
    CompletionFields,
    InfillFields,
    TokenFields,
)
from specbranch_cpp.server.interfaces.messages_request import MessageFields
from specbranch_cpp.server.interfaces.ollama import ChatFields, GenerateFields
from specbranch_cpp.server.interfaces.responses_request import ResponseFields
from specbranch_cpp.server.requests import ChatBody, CompletionBody, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(pair: tuple[Path, Path]) -> Iterator[Running]:
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    options: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1, "measure_costs": False}
    with (
        Engine(*pair, n_ctx=512, chat_template=template, **options) as engine,
        serving(engine, header_timeout_s=1, body_timeout_s=1) as running,
    ):
        yield running


@pytest.mark.parametrize("path", sorted(GOOD))
def test_what_is_malformed_was_good(server: Running, path: str) -> None:
    assert server.client.post(path, json=GOOD[path]).status_code == 200


def test_a_hundred_malformed_requests(server: Running) -> None:
    good = "/v1/completions"
    before = server.client.post(good, json=GOOD[good]).json()["choices"]
    n_answered = 0
    for index, request in enumerate(malformed_requests()):
        n_answered += refused(server.port, request)
        if index % 10 == 0:
            after = server.client.post(good, json=GOOD[good]).json()["choices"]
            assert after == before, index
    assert n_answered > 0.9 * N_WAYS
    assert server.client.post(good, json=GOOD[good]).json()["choices"] == before
    assert server.client.get("/health").json()["requests_waiting"] == 0


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ('"temperature": "hot"', 'temperature is "hot": '),
        ('"top_p": 2', "top_p is 2: "),
        ('"top_p": NaN', "top_p is NaN: "),
        (f'"temperature": "{1000 * "x"}"', "temperature: "),
    ],
)
def test_errors_tell_the_value(field: str, told: str) -> None:
    body = f'{{"prompt": "x", {field}}}'.encode()
    with pytest.raises(BadRequest, match="Input should be") as refused:
        parse(CompletionBody, body, 8)
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (MessageFields, "messages"), (MessageFields, "system"), (MessageFields, "tools"),
        (MessageFields, "stop_sequences"), (ResponseFields, "input"), (ResponseFields, "tools"),
        (ChatFields, "messages"), (ChatFields, "tools"), (GenerateFields, "context"),
        (ChatBody, "messages"), (ChatBody, "tools"), (ChatBody, "functions"), (ChatBody, "lora"),
        (ChatBody, "samplers"), (ChatBody, "stop_token_ids"), (ChatBody, "prediction"),
        (ChatBody, "dry_sequence_breakers"), (CompletionBody, "prompt"), (CompletionBody, "stop"),
        (CompletionFields, "prompt"), (InfillFields, "input_extra"), (TokenFields, "tokens"),
    ],
)  # fmt: skip
def test_the_first_wrong_item_of_a_list_is_enough(kind: type[BaseModel], field: str) -> None:
    """An error for each of a million items would take minutes and gigabytes."""
    good: dict[str, object] = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
    good |= {"input": "a", "tokens": [1]}
    if kind in (CompletionBody, CompletionFields):
        good["prompt"] = "a"
    kind.model_validate(good)
    with pytest.raises(ValidationError) as error:
        kind.model_validate(good | {field: [None] * 1000})
    assert error.value.error_count() <= 4  # one for each type that the field may have
