"""Texts that propose tokens, over HTTP: predictions, and API keys whose answers stay apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.openai_clients import openai_client
from tests.python.support.server_models import MESSAGES, TEMPLATE, chat
from tests.python.support.server_support import FakeModel, FakeText, Running, serving, told

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp.server.app import create_app
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTIONS: dict[str, Any] = {"max_tokens": 40, "temperature": 0}


@pytest.fixture(scope="module")
def alone(pair: tuple[Path, Path]) -> Iterator[Engine]:
    """A target without a draft."""
    with Engine(
        pair[0], n_ctx=1024, n_threads=1, chat_template=TEMPLATE, lookup_answers=False
    ) as engine:
        yield engine


@pytest.fixture(scope="module")
def server(alone: Engine) -> Iterator[Running]:
    with serving(alone) as running:
        yield running


def test_predictions_of_openais_client(server: Running, alone: Engine) -> None:
    text = chat(alone, MESSAGES, **OPTIONS)["choices"][0]["message"]["content"]
    half = len(text) // 2
    contents: list[Any] = [
        text,
        [{"type": "text", "text": text[:half]}, {"type": "text", "text": text[half:]}],
    ]
    with openai_client(server) as client:
        for content in contents:
            reply = client.chat.completions.create(
                model="any", messages=MESSAGES,
                prediction={"type": "content", "content": content},
                extra_body={"mode": "speculative"}, **OPTIONS,
            )  # fmt: skip
            assert reply.choices[0].message.content == text
            assert reply.usage is not None
            details = reply.usage.completion_tokens_details
            assert details is not None
            assert details.accepted_prediction_tokens is not None
            assert details.accepted_prediction_tokens > 20
            assert details.rejected_prediction_tokens is not None
        stream = client.chat.completions.create(
            model="any", messages=MESSAGES, stream=True, stream_options={"include_usage": True},
            prediction={"type": "content", "content": text}, extra_body={"mode": "speculative"},
            **OPTIONS,
        )  # fmt: skip
        usage = list(stream)[-1].usage
        assert usage is not None
        assert usage.completion_tokens_details is not None
        assert (usage.completion_tokens_details.accepted_prediction_tokens or 0) > 20
        plain = client.chat.completions.create(model="any", messages=MESSAGES, **OPTIONS)
        assert plain.usage is not None
        assert plain.usage.completion_tokens_details is not None  # it counts thoughts
        assert plain.usage.completion_tokens_details.accepted_prediction_tokens is None


@pytest.mark.parametrize(
    ("value", "field", "code"),
    [
        (5, "prediction", "invalid_value"),
        ({"type": "text", "content": "x"}, "prediction.type", "invalid_value"),
        ({"type": "content"}, "prediction.content", "missing_required_parameter"),
        (
            {"type": "content", "content": [{"type": "image_url"}]},
            "prediction.content[0]",
            "invalid_value",
        ),
    ],
)
def test_wrong_predictions(server: Running, value: Any, field: str, code: str) -> None:
    body = {"messages": MESSAGES, "prediction": value}
    error = told(server.client.post("/v1/chat/completions", json=body), 400, code)
    assert str(error["param"]).startswith(field)


def test_a_request_switches_texts_off(server: Running, alone: Engine) -> None:
    text = chat(alone, MESSAGES, **OPTIONS)["choices"][0]["message"]["content"]
    body = {"messages": MESSAGES, "prediction": text, "mode": "speculative", **OPTIONS}
    for lookup in (True, False):
        reply = server.client.post("/v1/chat/completions", json={**body, "lookup": lookup}).json()
        assert reply["choices"][0]["message"]["content"] == text
        assert (reply["timings"]["draft_n"] > 0) is lookup
    reply = server.client.post("/v1/chat/completions", json={**body, "lookup_answers": True})
    assert "lookup_answers is True, but it is False for the engine" in reply.text
    assert reply.status_code == 400


def test_the_model_card_tells_what_proposes(server: Running) -> None:
    meta = server.client.get("/v1/models").json()["data"][0]["meta"]
    assert (meta["draft"], meta["lookup"], meta["mode"]) == (None, True, "auto")
    figures = server.client.get("/metrics").text
    assert "specbranch:lookup_draft_tokens_total" in figures


class _Remembering(FakeModel):
    lookup_answers = True


@pytest.mark.parametrize(
    ("keys", "share", "refused"),
    [
        ((), False, False),
        (("one",), False, False),
        (("one", "one"), False, False),
        (("one", "two"), False, True),
        (("one", "two"), True, False),
    ],
)
def test_answers_are_not_shared_between_keys(
    keys: tuple[str, ...], share: bool, refused: bool
) -> None:
    settings = ServerSettings(api_keys=keys, share_answers=share)
    remembering: Any = _Remembering()
    forgetful: Any = FakeModel()
    create_app(forgetful, settings, text_engine=FakeText())
    if refused:
        with pytest.raises(InvalidArgument, match=r"there are 2 API keys.*lookup_answers=False"):
            create_app(remembering, settings, text_engine=FakeText())
    else:
        create_app(remembering, settings, text_engine=FakeText())
