"""Whole chats with the families' templates: what the template shows of an answer is what the model
writes, and it comes back as the same message, streamed and not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.python.support.call_formats import BOTH, FUNCTIONS, TOOLS
from tests.python.support.family_chats import CHATS, FamilyChat
from tests.python.support.scripted import script
from tests.python.support.tiny_gguf import N_VOCAB, write_tiny_gguf

from specbranch_cpp import Engine
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.openai_api.prompts import format_of

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTION: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is it warm in Rome?"},
]
THOUGHT = "The city is Rome."


@pytest.fixture(scope="module", params=CHATS)
def chat(request: pytest.FixtureRequest) -> FamilyChat:
    return CHATS[str(request.param)]


@pytest.fixture(scope="module")
def engine(chat: FamilyChat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A model of random weights with the family's template, control tokens and ends."""
    ids = {name: N_VOCAB + index for index, name in enumerate(chat.tokens)}
    ends = [ids.get(name, 0) for name in chat.end]
    path = write_tiny_gguf(
        tmp_path_factory.mktemp("family") / "target.gguf",
        weight_type="Q8_0",
        sharpness=1.0,
        context_length=4096,
        add_bos=False,
        eos=ends[0],
        token_ids=dict(zip(("eot_token_id", "eom_token_id"), ends[1:], strict=False)),
        control_tokens=chat.tokens,
        metadata={"tokenizer.chat_template": chat.source},
    )
    with Engine(path, n_ctx=4096, n_threads=1) as engine:
        yield engine


def called(chat: FamilyChat) -> dict[str, Any]:
    """A message with calls, and with a thought where the family has them."""
    calls = [
        {
            "id": f"call0000{index}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for index, (name, arguments) in enumerate(BOTH[: None if chat.many else 1])
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, **thought(chat)}


def answered(chat: FamilyChat) -> dict[str, Any]:
    return {"role": "assistant", "content": "Rome is warm.", **thought(chat)}


def thought(chat: FamilyChat) -> dict[str, str]:
    return {"reasoning_content": THOUGHT} if chat.thinks else {}


def tokens_of(engine: Engine, messages: list[Any], **variables: Any) -> list[int]:
    return format_of(engine).prompt(
        engine, plain_messages(messages), tools=TOOLS, variables=variables
    )


def text_of(engine: Engine, messages: list[Any], **variables: Any) -> str:
    return engine.detokenize(tokens_of(engine, messages, **variables), special=True)


def transcript(engine: Engine, chat: FamilyChat, history: list[Any], answer: Any) -> str:
    """What the template shows of an answer, without the end of the turn."""
    asked = text_of(engine, history, add_generation_prompt=True)
    whole = text_of(engine, [*history, answer], add_generation_prompt=False)
    assert whole.startswith(asked)
    text = whole[len(asked) :].rstrip("\n")
    for end in chat.end:
        text = text.removesuffix(end)
    return text


def answers(engine: Engine, messages: list[Any], **options: Any) -> tuple[Any, Any]:
    """The message of a reply and that of a stream, each with the reason why it ended."""
    given: dict[str, Any] = {"max_tokens": 400, "tools": TOOLS, "seed": 1, **options}
    whole: Any = engine.create_chat_completion(messages, **given)
    choice = whole["choices"][0]
    streamed: dict[str, Any] = {"role": "assistant", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    reason = None
    chunks: Any = engine.create_chat_completion(messages, **given, stream=True)
    for chunk in chunks:
        part = chunk["choices"][0]
        reason = part["finish_reason"] or reason
        for piece in part["delta"].pop("tool_calls", ()):
            call = calls.setdefault(piece["index"], {"name": None, "arguments": ""})
            call["name"] = call["name"] or piece["function"].get("name")
            call["arguments"] += piece["function"].get("arguments", "")
        for name, value in part["delta"].items():
            streamed[name] = value if name == "role" else streamed.get(name, "") + (value or "")
    streamed["tool_calls"] = [{"function": call} for _, call in sorted(calls.items())]
    return (choice["message"], choice["finish_reason"]), (streamed, reason)


def calls_in(message: dict[str, Any]) -> list[Any]:
    functions = [call["function"] for call in message.get("tool_calls", ())]
    return [(one["name"], json.loads(one["arguments"])) for one in functions]


def test_the_format_is_found(engine: Engine, chat: FamilyChat) -> None:
    assert format_of(engine).style(has_tools=True).tool_format == chat.form


def test_marks_of_the_template_are_tokens_and_those_of_a_user_are_text(
    engine: Engine, chat: FamilyChat
) -> None:
    results = [
        {"role": "tool", "tool_call_id": f"call0000{index}", "content": f"{18 + index} degrees"}
        for index in range(2 if chat.many else 1)
    ]
    ids = tokens_of(engine, [*QUESTION, called(chat), *results], add_generation_prompt=True)
    text = engine.detokenize(ids, special=True)
    known = [name for name in chat.tokens if name in text]
    assert len(known) >= 2
    for name in known:
        (token,) = engine.tokenize(name, add_bos=False, special=True)
        assert ids.count(token) == text.count(name)
    shown = [text.index(result["content"]) for result in results]
    assert shown == sorted(shown)
    assert text.index("Is it warm in Rome?") < text.index("get", text.index("Is it")) < shown[0]
    # A user who writes the same names adds no token of them.
    written = {"role": "user", "content": f"Is it warm in Rome? {' '.join(known)}"}
    others = tokens_of(
        engine, [QUESTION[0], written, called(chat), *results], add_generation_prompt=True
    )
    for name in known:
        (token,) = engine.tokenize(name, add_bos=False, special=True)
        assert others.count(token) == ids.count(token)


def test_calls_come_back(engine: Engine, chat: FamilyChat, monkeypatch: pytest.MonkeyPatch) -> None:
    text = transcript(engine, chat, QUESTION, called(chat))
    script(monkeypatch, engine, text, chat.tokens)
    for message, reason in answers(engine, QUESTION):
        assert calls_in(message) == BOTH[: None if chat.many else 1]
        assert not message["content"]
        assert message.get("reasoning_content") == (THOUGHT if chat.thinks else None)
        assert reason == "tool_calls"


def test_text_comes_back(engine: Engine, chat: FamilyChat, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [{"role": "tool", "tool_call_id": "call00000", "content": "18 degrees"}]
    one = called(chat)
    one["tool_calls"] = one["tool_calls"][:1]
    history = [*QUESTION, one, *results]
    script(monkeypatch, engine, transcript(engine, chat, history, answered(chat)), chat.tokens)
    for message, reason in answers(engine, history):
        assert calls_in(message) == []
        assert message["content"] == "Rome is warm."
        assert message.get("reasoning_content") == (THOUGHT if chat.thinks else None)
        assert reason == "stop"


@pytest.mark.parametrize(
    "chat", [name for name, one in CHATS.items() if not one.thinks], indirect=True, scope="module"
)
def test_a_forced_call_follows_the_schema(engine: Engine) -> None:
    """The model is random: it would not call. It would not end a thought either."""
    names = set()
    for seed in range(4):
        options = {"tool_choice": "required", "temperature": 1.0, "seed": seed}
        for message, reason in answers(engine, QUESTION, **options):
            if reason == "length":  # a long name of a city
                continue
            assert reason == "tool_calls"
            assert not message["content"]
            for name, arguments in calls_in(message):
                jsonschema.validate(arguments, FUNCTIONS[name]["parameters"])
                names.add(name)
    assert names
