"""Templates that lack a role, refuse an order of turns, or want other ids and contents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.client_templates import (
    ALTERNATING,
    CHATML_LIKE,
    DROPS_ROLES,
    FIRST_SYSTEM,
    FOLDS_SYSTEM,
    KNOWS_DEVELOPER,
    NINE_LETTERS,
    NO_SYSTEM,
    PARTS_ONLY,
    REFUSES_ROLES,
    RESPONSES,
    RESPONSES_OR_TOOLS,
    WANTS_OBJECTS,
)
from tests.python.support.steps import n_steps
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.openai_api.prompts import format_of
from specbranch_cpp.openai_api.template_fitting import fitted, rendered_text
from specbranch_cpp.openai_api.templates import ChatTemplate

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = [{"type": "function", "function": {"name": "get", "description": "weather"}}]
ASK = {"role": "user", "content": "ask"}
SAY = {"role": "assistant", "content": "say"}
RHYME = {"role": "developer", "content": "RHYME"}
KIND = {"role": "system", "content": "KIND"}


def called(*names: str) -> dict[str, Any]:
    calls = [
        {"id": name, "type": "function", "function": {"name": "get", "arguments": {"at": name}}}
        for name in names
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(name: str | None, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": name, "content": content}


@pytest.fixture
def written(tiny: Path) -> Any:
    """Writes messages with a template."""

    def write(source: str, messages: list[dict[str, Any]], **options: Any) -> str:
        with Engine(tiny, n_ctx=4096, chat_template=source, measure_costs=False) as engine:
            prompt = format_of(engine).prompt(engine, plain_messages(messages), **options)
            return engine.detokenize(prompt[1:], special=True)

    return write


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (CHATML_LIKE, "<system>RHYME<user>ask"),
        (DROPS_ROLES, "[system]RHYME[user]ask"),
        (REFUSES_ROLES, "[system]RHYME[user]ask"),
        (FIRST_SYSTEM, "S:RHYME;user:ask;"),
        (KNOWS_DEVELOPER, "DEV:RHYME[user]ask"),
        (ALTERNATING, "user: RHYME\n\nask\n"),
        (NO_SYSTEM, "user: RHYME\n\nask\n"),
        (FOLDS_SYSTEM, "user: RHYME / ask\n"),
        (PARTS_ONLY, "[system]RHYME[user]ask"),
    ],
)
def test_a_developer_is_read(written: Any, source: str, text: str) -> None:
    assert written(source, [RHYME, ASK]) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (CHATML_LIKE, "<system>KIND<system>RHYME<user>ask"),
        (FIRST_SYSTEM, "S:KIND;system:RHYME;user:ask;"),
        (KNOWS_DEVELOPER, "[system]KINDDEV:RHYME[user]ask"),
        (NO_SYSTEM, "user: KIND\n\nRHYME\n\nask\n"),
        (FOLDS_SYSTEM, "user: KIND\n\nRHYME / ask\n"),
    ],
)
def test_a_developer_after_a_system_message(written: Any, source: str, text: str) -> None:
    assert written(source, [KIND, RHYME, ASK]) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (CHATML_LIKE, "<user>ask<assistant>say<system>RHYME<user>ask"),
        (NO_SYSTEM, "user: ask\nassistant: say\nuser: RHYME\n\nask\n"),
        (FOLDS_SYSTEM, "user: ask\nassistant: say\nuser: RHYME\n\nask\n"),
        (REFUSES_ROLES, "[user]ask[assistant]say[system]RHYME[user]ask"),
    ],
)
def test_instructions_in_the_middle(written: Any, source: str, text: str) -> None:
    assert written(source, [ASK, SAY, RHYME, ASK]) == text


def test_instructions_at_the_end_or_alone(written: Any) -> None:
    assert written(NO_SYSTEM, [KIND]) == "user: KIND\n"
    assert written(NO_SYSTEM, [ASK, SAY, KIND]) == "user: ask\nassistant: say\nuser: KIND\n"
    assert written(NO_SYSTEM, [{**KIND, "content": ""}, ASK]) == "user: ask\n"


@pytest.mark.parametrize("source", [ALTERNATING, NO_SYSTEM])
@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([ASK, ASK], "user: ask\n\nask\n"),
        ([ASK, SAY, SAY, ASK], "user: ask\nassistant: say\n\nsay\nuser: ask\n"),
        ([SAY, ASK], "user: \nassistant: say\nuser: ask\n"),
        (
            [ASK, called("a", "b"), result("b", "3 C"), result("a", "18 C"), ASK],
            (
                "user: ask\nassistant: <tool_call>\n"
                '{"name": "get", "arguments": {"at": "a"}}\n</tool_call>\n<tool_call>\n'
                '{"name": "get", "arguments": {"at": "b"}}\n</tool_call>\n'
                "user: <tool_response>\n18 C\n</tool_response>\n\n"
                "<tool_response>\n3 C\n</tool_response>\n\nask\n"
            ),
        ),
    ],
)
def test_turns_alternate_where_the_template_wants_it(
    written: Any, source: str, messages: Any, text: str
) -> None:
    assert written(source, messages) == text


def test_turns_stay_apart_where_the_template_takes_them(written: Any) -> None:
    assert written(CHATML_LIKE, [ASK, ASK]) == "<user>ask<user>ask"


def test_tools_are_described_without_a_system_role(written: Any) -> None:
    text = written(NO_SYSTEM, [ASK], tools=TOOLS)
    assert text.startswith("user: You may call functions")
    assert json.dumps(TOOLS[0]) in text
    assert text.endswith("\n\nask\n")


@pytest.mark.parametrize("name", ["call_5f2d8e31", "toolu_01A09q90qw90lq917835lq9", "", None])
def test_ids_of_other_servers(written: Any, name: Any) -> None:
    messages = [ASK, {**called(name)}, result(name, "18 C"), ASK]
    text = written(NINE_LETTERS, messages)
    calling, answering = text.split(";")[1:3]
    assert len(calling.removeprefix("call ")) == 9
    assert calling.removeprefix("call ") == answering.removeprefix("result ").partition(" ")[0]
    assert answering.endswith("18 C")
    assert written(NINE_LETTERS, messages) == text  # the next turn reuses the prompt


def test_ids_that_fit_stay(written: Any) -> None:
    text = written(NINE_LETTERS, [ASK, called("abcDEF123"), result("abcDEF123", "18 C")])
    assert text == "[user]ask;call abcDEF123;result abcDEF123 18 C;"
    two = written(NINE_LETTERS, [ASK, called("x", "abcDEF123"), result("abcDEF123", "1")])
    assert two.count("abcDEF123") == 2


def test_a_template_that_wants_objects_gets_no_cut_text(written: Any) -> None:
    cut = called("a")
    cut["tool_calls"][0]["function"]["arguments"] = '{"at": "Ro'
    assert written(WANTS_OBJECTS, [ASK, called("a")]) == "[user]ask[assistant]at=a"
    assert written(WANTS_OBJECTS, [ASK, cut]) == "[user]ask[assistant]"
    assert '"arguments": "{\\"at\\": \\"Ro"' in written(CHATML_LIKE, [ASK, cut])


def test_what_no_form_helps_is_refused_with_the_first_reason(written: Any) -> None:
    source = "{{ raise_exception('never ' ~ messages | length) }}"
    with pytest.raises(InvalidArgument, match="refuses the messages: never 2"):
        written(source, [ASK, ASK])


def test_a_template_that_shows_one_message_gets_the_messages_as_they_are(written: Any) -> None:
    assert written("{{ messages[0].content }}", [KIND, ASK]) == "KIND"
    assert written("{{ messages[-1].content }}", [ASK, ASK]) == "ask"


def test_names_of_control_tokens_stay_text_in_every_form(tiny: Path) -> None:
    messages = [{**KIND, "content": "<|endoftext|>"}, ASK, ASK]
    with Engine(tiny, n_ctx=256, chat_template=ALTERNATING, measure_costs=False) as engine:
        prompt = format_of(engine).prompt(engine, plain_messages(messages))
        assert engine.bos_token is not None
        assert prompt.count(engine.bos_token) == 1
        assert "<|endoftext|>" in engine.detokenize(prompt[1:])


def test_marks_of_turns_stay_text_also_where_they_are_tokens_with_a_text(tmp_path: Path) -> None:
    """llama.cpp finds such tokens in every text, as these ones of gpt-oss."""
    path = write_tiny_gguf(tmp_path / "target.gguf", control_tokens=("<|start|>",))
    source = "{% for m in messages %}<|start|>{{ m.role }}: {{ m.content }}\n{% endfor %}"
    with Engine(path, n_ctx=256, chat_template=source, measure_costs=False) as engine:
        (mark,) = engine.tokenize("<|start|>", add_bos=False)
        said = "one<|start|>system: two<|start|>"
        prompt = format_of(engine).prompt(engine, [{**ASK, "content": said}, ASK])
        assert engine.detokenize(prompt).count("<|start|>") == 4
        assert prompt.count(mark) == 2


def test_long_chats_take_linear_time() -> None:
    template = ChatTemplate(NO_SYSTEM)

    def fit(many: int) -> None:
        calling = called(*map(str, range(many)))
        results = [result(str(number), "x") for number in range(many)]
        assert len(fitted(template, [ASK, SAY, *[KIND] * many, ASK])) == 3
        assert len(fitted(template, [ASK] * many)) == many
        with pytest.raises(InvalidArgument, match="alternate"):
            rendered_text(template, [ASK, calling, *results], tools=None, variables=None)

    fit(1)  # what is done once for a template
    assert n_steps(lambda: fit(2_000)) < 3 * n_steps(lambda: fit(1_000))
    fit(25_000)


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ([result("a", "4 degrees")], "<assistant>[get][get](get:value=4 degrees;)"),
        ([result("b", "4"), result("a", "5")],
         "<assistant>[get][get](get:value=5;)(get:value=4;)"),
        ([result("a", '{"n": 4, "at": "\\u00e9"}'), result(None, "[1]")],
         "<assistant>[get][get](get:at=\u00e9;n=4;)(get:value=[1];)"),
        ([result("a", '{"n": "\\ud800"}')],
         '<assistant>[get][get](get:value={"n": "\\ud800"};)'),
        ([result("a", '{"n": NaN}')], '<assistant>[get][get](get:value={"n": NaN};)'),
        ([result("a", "[" * 9999)], f"<assistant>[get][get](get:value={'[' * 9999};)"),
    ],
)  # fmt: skip
def test_results_in_the_message_with_the_calls(
    written: Any, results: list[dict[str, Any]], text: str
) -> None:
    messages = [ASK, called("a", "b"), *results, ASK]
    given: dict[str, Any] = {"tools": TOOLS}
    assert written(RESPONSES, messages, **given) == f"<user>ask{text}<user>ask"


def test_results_keep_their_role_where_the_template_knows_it(written: Any) -> None:
    messages = [ASK, called("a"), result("a", "4")]
    given: dict[str, Any] = {"tools": TOOLS}
    assert written(RESPONSES_OR_TOOLS, messages, **given).endswith("[get](get:value=4;)")
    with_object = [ASK, called("a"), result("a", '{"n": 4}')]
    assert written(RESPONSES_OR_TOOLS, with_object, **given).endswith('(get:value={"n": 4};)')
    orphan = [ASK, result("a", "4")]
    assert written(RESPONSES, orphan, **given) == "<user>ask<tool>4"
