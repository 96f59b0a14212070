"""A last message of the assistant that the answer continues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.client_templates import ALTERNATING, CHATML_LIKE, PARTS_ONLY

from specbranch_cpp import Engine, InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

ASK = {"role": "user", "content": "def f(x):"}
BEGUN = {"role": "assistant", "content": "def g(y):\n    "}
SOURCE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPT = "<|im_start|>user\ndef f(x):<|im_end|>\n<|im_start|>assistant\n" + BEGUN["content"]


def chat(engine: Engine, messages: Any, **options: Any) -> Any:
    return engine.create_chat_completion(messages, max_tokens=8, temperature=0.0, **options)


@pytest.fixture(scope="module")
def chatml(pair: tuple[Path, Path]) -> Any:
    with Engine(pair[0], n_ctx=512, chat_template=SOURCE, measure_costs=False) as engine:
        yield engine


def test_the_answer_is_the_text_after_the_last_message(chatml: Engine) -> None:
    prompt = chatml.tokenize(PROMPT, special=True)
    done = chatml.complete(prompt, max_tokens=8)
    for last, options in (
        (BEGUN, {"continue_final_message": True}),
        ({**BEGUN, "prefix": True}, {}),
        ({**BEGUN, "partial": True}, {}),
    ):
        answer = chat(chatml, [ASK, last], **options)
        assert answer["choices"][0]["message"]["content"] == done.text
        assert answer["usage"]["prompt_tokens"] == len(prompt)


def test_without_a_wish_the_answer_is_a_new_message(chatml: Engine) -> None:
    begin = "<|im_end|>\n<|im_start|>assistant\n"
    tokens = chatml.tokenize(PROMPT.rstrip() + begin, special=True)
    assert chat(chatml, [ASK, BEGUN])["usage"]["prompt_tokens"] == len(tokens)


@pytest.mark.parametrize("wanted", [True, False])
def test_the_beginning_of_an_answer_can_be_left_out(chatml: Engine, wanted: bool) -> None:
    text = "<|im_start|>user\ndef f(x):<|im_end|>\n" + "<|im_start|>assistant\n" * wanted
    for options in (
        {"add_generation_prompt": wanted},
        {"chat_template_kwargs": {"add_generation_prompt": wanted}},
    ):
        answer = chat(chatml, [ASK], **options)
        assert answer["usage"]["prompt_tokens"] == len(chatml.tokenize(text, special=True))


def test_an_empty_message_is_the_beginning_of_an_answer(chatml: Engine) -> None:
    empty = [ASK, {"role": "assistant", "content": None}]
    continued = chat(chatml, empty, continue_final_message=True)
    assert continued["usage"] == {
        **chat(chatml, [ASK])["usage"],
        "prompt_tokens_details": continued["usage"]["prompt_tokens_details"],
    }


@pytest.mark.parametrize("source", [CHATML_LIKE, ALTERNATING, PARTS_ONLY])
def test_every_form_of_messages_can_be_continued(tiny: Path, source: str) -> None:
    with Engine(tiny, n_ctx=256, chat_template=source, measure_costs=False) as engine:
        answer: Any = engine.create_chat_completion(
            [ASK, ASK, {"role": "assistant", "content": "a"}, BEGUN],
            continue_final_message=True,
            trace=True,
            max_tokens=1,
        )
        assert answer["usage"]["prompt_tokens"] > len("def f(x):def f(x):adef g(y):")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([ASK], "must be text of the assistant"),
        (
            [ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}],
            "must be text of the assistant",
        ),
    ],
)
def test_what_cannot_be_continued(chatml: Engine, messages: Any, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        chat(chatml, messages, continue_final_message=True)


def test_a_template_that_hides_the_message_cannot_continue_it(tiny: Path) -> None:
    with (
        Engine(tiny, n_ctx=256, chat_template="{{ messages[0].content }}") as engine,
        pytest.raises(InvalidArgument, match="does not show the text of the last message"),
    ):
        chat(engine, [ASK, BEGUN], continue_final_message=True)
