"""What a chat makes of what a model writes: thoughts, content and calls, streamed and not."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.python.support.call_formats import BOTH, FAMILIES, GET, TOOLS
from tests.python.support.scripted import make_engine, script

from specbranch_cpp import Engine
from specbranch_cpp.openai_api.answers.thoughts import THINK
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.openai_api.prompts import format_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = [{"role": "user", "content": "hello"}]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
JSON = {
    "type": "json_schema",
    "json_schema": {
        "name": "r",
        "schema": {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}


def chat(engine: Engine, **options: Any) -> Any:
    return engine.create_chat_completion(HELLO, **{"max_tokens": 400, "seed": 1, **options})


def streamed(engine: Engine, **options: Any) -> tuple[dict[str, Any], str]:
    """The message that the chunks of a stream make, and why it ended."""
    message: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    reason = ""
    for chunk in chat(engine, stream=True, **options):
        choice = chunk["choices"][0]
        reason = choice["finish_reason"] or reason
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                for piece in value:
                    call = calls.setdefault(piece["index"], {"arguments": ""})
                    call.setdefault("id", piece.get("id"))
                    call.setdefault("name", piece["function"].get("name"))
                    call["arguments"] += piece["function"].get("arguments", "")
            elif name != "role":
                message[name] = message.get(name, "") + value
    if calls:
        message["tool_calls"] = list(calls.values())
    return message, reason


def calls_of(message: dict[str, Any]) -> list[Any]:
    functions = [call.get("function", call) for call in message.get("tool_calls", ())]
    return [(one["name"], json.loads(one["arguments"])) for one in functions]


def no_analysis(engine: Engine) -> dict[int, float]:
    """A random model would never end its thoughts."""
    return {engine.tokenize("a", add_bos=False)[0]: -100.0}


@pytest.mark.parametrize("name", FAMILIES)
def test_calls_of_every_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    family = FAMILIES[name]
    text = family.two or family.one
    with make_engine(tmp_path, family.template, family.tokens) as engine:
        asked = script(monkeypatch, engine, text.removesuffix("<|call|>"), family.tokens)
        answer = chat(engine, tools=TOOLS)["choices"][0]
        message, reason = streamed(engine, tools=TOOLS)
        monkeypatch.undo()
        for request in asked:  # llama.cpp takes the grammars
            grammar = request.sampling.value.grammar
            engine.generate([1], grammar=grammar, max_tokens=0).result()
    assert calls_of(answer["message"]) == (BOTH if family.two else [GET])
    assert (answer["finish_reason"], answer["message"]["content"]) == ("tool_calls", None)
    assert calls_of(message) == calls_of(answer["message"])
    assert (reason, message.get("content", "")) == ("tool_calls", "")


def test_ids_are_the_models_own_where_it_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FAMILIES["kimi k2"]
    with make_engine(tmp_path, family.template, family.tokens) as engine:
        script(monkeypatch, engine, family.two, family.tokens)
        message = chat(engine, tools=TOOLS)["choices"][0]["message"]
    assert [call["id"] for call in message["tool_calls"]] == ["functions.get:0", "functions.set:1"]


@pytest.mark.parametrize(
    "name", [n for n, family in FAMILIES.items() if "," not in n or n.startswith("llama")]
)
def test_forced_calls_of_every_family_follow_the_schema(tmp_path: Path, name: str) -> None:
    """The model is random: the grammar alone makes the calls."""
    family = FAMILIES[name]
    with make_engine(tmp_path, family.template, family.tokens) as engine:
        names = set()
        for seed in range(4):
            choice = chat(
                engine,
                tools=TOOLS,
                tool_choice="required",
                seed=seed,
                temperature=1.0,
                logit_bias=no_analysis(engine) if family.channels else None,
            )["choices"][0]
            if choice["finish_reason"] == "length":  # a long name of a city
                continue
            assert choice["finish_reason"] == "tool_calls", choice
            assert choice["message"]["content"] is None
            ((called, arguments),) = calls_of(choice["message"])
            jsonschema.validate(arguments, SCHEMAS[called])
            names.add(called)
    assert names


@pytest.mark.parametrize(
    "name", ["mistral 2025", "lfm2", "phi-4-mini", "kimi k2", "deepseek v3.1", "minimax-m2"]
)
def test_a_call_that_a_free_text_begins_follows_the_schema(tmp_path: Path, name: str) -> None:
    family = FAMILIES[name]
    with make_engine(tmp_path, family.template, family.tokens) as engine:
        form = format_of(engine).style(has_tools=True).form
        (token,) = engine.tokenize(form.opening, add_bos=False, special=True)
        called = []
        for seed in range(4):
            choice = chat(
                engine,
                tools=TOOLS,
                seed=seed,
                temperature=1.0,
                logit_bias={token: 8.0},
                parallel_tool_calls=False,
            )["choices"][0]
            for function, arguments in calls_of(choice["message"]):
                jsonschema.validate(arguments, SCHEMAS[function])
                called.append(function)
                assert choice["finish_reason"] == "tool_calls"
            assert called or choice["finish_reason"] == "length"
    assert called


def test_a_free_text_is_the_same_with_and_without_the_grammar(tmp_path: Path) -> None:
    family = FAMILIES["lfm2"]
    ascii_only = dict.fromkeys([1, *range(128, 257)], -1000.0)  # and no zero bytes
    options: dict[str, Any] = {"max_tokens": 60, "logit_bias": ascii_only, "temperature": 1.0}
    with make_engine(tmp_path, family.template) as engine:
        prompt = format_of(engine).prompt(engine, HELLO, tools=TOOLS)
        for seed in range(3):
            message = chat(engine, tools=TOOLS, **{**options, "seed": seed})["choices"][0]
            plain = engine.generate(prompt, top_k=40, top_p=0.95, min_p=0.05, seed=seed, **options)
            assert message["message"]["content"] == plain.result().text


@pytest.fixture(scope="module")
def plain_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with make_engine(tmp_path_factory.mktemp("plain"), None) as engine:
        yield engine


@pytest.mark.parametrize(
    ("text", "thought", "content"),
    [
        ("<think>\nt\n</think>\n\nx", "t", "x"),
        (" <think>t u</think>x\n", "t u", "x\n"),
        ("<think>\n\n</think>\n\nx", None, "x"),
        ("<think>unfinished ", "unfinished", ""),
        ("<thinking>x", None, "<thinking>x"),
        ("  x <think>no</think>", None, "  x <think>no</think>"),
        ("<", None, "<"),
    ],
)
def test_thoughts_are_no_content(
    plain_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    thought: str | None,
    content: str,
) -> None:
    script(monkeypatch, plain_engine, text)
    message = chat(plain_engine)["choices"][0]["message"]
    assert (message.get("reasoning_content"), message["content"]) == (thought, content)
    told, _ = streamed(plain_engine)
    assert (told.get("reasoning_content"), told.get("content", "")) == (thought, content)


def test_the_marks_of_thoughts_come_from_the_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = ("[THINK]", "[/THINK]", "[TOOL_CALLS]")
    source = CHATML + "{% if tools %}{{ tools }}[TOOL_CALLS]{% endif %}{# [THINK][/THINK] #}"
    with make_engine(tmp_path, source, tokens) as engine:
        text = f"[THINK]why[/THINK]Now: {FAMILIES['mistral 2024'].two}"
        script(monkeypatch, engine, text, tokens)
        message = chat(engine, tools=TOOLS)["choices"][0]["message"]
        told, _ = streamed(engine, tools=TOOLS)
    for one in (message, told):
        assert (one["reasoning_content"], one["content"]) == ("why", "Now:")
        assert calls_of(one) == BOTH


def test_a_thought_that_the_prompt_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = CHATML + "<think>\n{# {{ tools }} <tool_call> #}"
    with make_engine(tmp_path, source) as engine:
        for text in ("why\n</think>\n\nx", "<think>\nwhy</think>x"):
            with monkeypatch.context() as patch:
                script(patch, engine, text)
                message = chat(engine)["choices"][0]["message"]
            assert (message["reasoning_content"], message["content"]) == ("why", "x")


SOFT = (
    CHATML + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% endif %}{% if tools %}{{ tools }}<tool_call>{% endif %}"
)


@pytest.mark.parametrize("is_open", [False, True])
def test_json_and_calls_come_after_the_thought(tmp_path: Path, is_open: bool) -> None:
    source = SOFT + ("<think>\n" if is_open else "")
    with make_engine(tmp_path, source, (THINK.begin, THINK.end)) as engine:
        # A random model would think without an end.
        (end,) = engine.tokenize(THINK.end, add_bos=False, special=True)
        options: dict[str, Any] = {"temperature": 1.0, "logit_bias": {end: 4.0}}
        n_thoughts = 0
        for seed in range(6):
            choice = chat(engine, response_format=JSON, seed=seed, **options)["choices"][0]
            assert choice["finish_reason"] == "stop"
            assert json.loads(choice["message"]["content"])["a"] in {1, 2}
            n_thoughts += "reasoning_content" in choice["message"]
            forced = {"tools": TOOLS, "tool_choice": "required", "seed": seed}
            choice = chat(engine, **forced, **options)["choices"][0]
            if choice["finish_reason"] != "length":  # a long name of a city
                assert choice["message"]["content"] is None
                ((called, arguments),) = calls_of(choice["message"])
                jsonschema.validate(arguments, SCHEMAS[called])
        assert n_thoughts > 0 or not is_open


def test_tools_beside_a_format(tmp_path: Path) -> None:
    with make_engine(tmp_path, FAMILIES["hermes"].template) as engine:
        kinds = set()
        for seed in range(12):
            options = {"seed": seed, "temperature": 1.5, "response_format": JSON}
            choice = chat(engine, tools=TOOLS, **options)["choices"][0]
            message = choice["message"]
            if choice["finish_reason"] == "stop":
                assert json.loads(message["content"])["a"] in {1, 2}
            for called, arguments in calls_of(message):
                jsonschema.validate(arguments, SCHEMAS[called])
            kinds.add(choice["finish_reason"])
        assert kinds >= {"stop", "tool_calls"}
        forced = chat(engine, tools=TOOLS, tool_choice="required", response_format=JSON, seed=1)
        assert forced["choices"][0]["message"]["content"] is None


def test_thinking_that_is_off_leaves_no_thought(tmp_path: Path) -> None:
    with make_engine(tmp_path, SOFT) as engine:
        form = format_of(engine)
        style = form.style(has_tools=False)
        for off in (False, True):
            variables = {"enable_thinking": False} if off else {}
            prompt = form.prompt(engine, HELLO, variables=variables)
            shape = style.shape(style.opening(engine, prompt), is_free=False)
            assert shape.thought == (None if off else THINK)
            assert not shape.is_open


CHANNELS = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}"
    "<|start|>assistant"
)
HARMONY = FAMILIES["gpt-oss"].tokens
ANALYSIS = "<|channel|>analysis<|message|>{}<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>x"


@pytest.mark.parametrize(
    ("text", "thought", "content"),
    [
        (f"<|channel|>analysis<|message|>t<|end|>{FINAL}", "t", "x"),
        (f"<|channel|>analysis<|message|>t<|end|>{FINAL}<|end|>", "t", "x"),
        ("<|channel|>final<|message|>x", None, "x"),
        ("<|channel|>final <|constrain|>json<|message|>x", None, "x"),
        ("<|channel|>final<|message|>x \n", None, "x \n"),  # as in every format
        (f"<|channel|>commentary<|message|>y \n<|end|>{FINAL}", None, "y\n\nx"),
        ("x", None, "x"),
        ("assistants help", None, "assistants help"),
        ("<|channel|>analysis<|message|>t", "t", ""),
        ("<|channel|>analysis", None, ""),
        (
            f"{ANALYSIS.format('t')}<|start|>assistant{ANALYSIS.format('u')}{FINAL}",
            "t\n\nu",
            "x",
        ),
        (f"<|channel|>commentary<|message|>First.<|end|>{FINAL}", None, "First.\n\nx"),
    ],
)
def test_the_channels_of_gpt_oss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, thought: str | None, content: str
) -> None:
    with make_engine(tmp_path, CHANNELS, HARMONY) as engine:
        script(monkeypatch, engine, text, HARMONY)
        choice = chat(engine)["choices"][0]
        told, reason = streamed(engine)
    message = choice["message"]
    assert (message.get("reasoning_content"), message["content"]) == (thought, content)
    assert (told.get("reasoning_content"), told.get("content", "")) == (thought, content)
    assert choice["finish_reason"] == reason == "stop"


def test_a_thought_of_gpt_oss_before_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"<|channel|>analysis<|message|>t<|end|><|start|>assistant{FAMILIES['gpt-oss'].one}"
    source = CHANNELS + "{# {{ tools }} #}{% if tools %}{% endif %}"
    with make_engine(tmp_path, source, HARMONY) as engine:
        script(monkeypatch, engine, text.removesuffix("<|call|>"), HARMONY)
        message = chat(engine, tools=TOOLS)["choices"][0]["message"]
    assert message["reasoning_content"] == "t"
    assert calls_of(message) == [GET]


@pytest.mark.parametrize(
    ("field", "message", "shown"),
    [
        ("thinking", {"content": "x"}, "t"),
        ("thinking", {"content": "x", "thinking": "own"}, "own"),
        ("thinking", {"content": "x", "tool_calls": True}, ""),
        ("thinking", {"content": None, "tool_calls": True}, "t"),
        ("reasoning_content", {"content": "x"}, "t"),
    ],
)
def test_thoughts_of_earlier_answers_reach_the_template(
    tmp_path: Path, field: str, message: dict[str, Any], shown: str
) -> None:
    if "tool_calls" in message:
        call = {"id": "1", "type": "function", "function": {"name": "get", "arguments": "{}"}}
        message = {**message, "tool_calls": [call]}
    answer = {"role": "assistant", "reasoning_content": "t", **message}
    source = "{% for m in messages %}{{ m." + field + " }}{% endfor %}{# {{ tools }} <tool_call> #}"
    with make_engine(tmp_path, source) as engine:
        prompt = format_of(engine).prompt(engine, plain_messages([*HELLO, answer]))
        assert engine.detokenize(prompt) == shown


def test_json_of_gpt_oss_is_in_the_final_channel(tmp_path: Path) -> None:
    with make_engine(tmp_path, CHANNELS, HARMONY) as engine:
        for seed in range(3):
            answer = chat(
                engine,
                response_format=JSON,
                seed=seed,
                temperature=1.0,
                logit_bias=no_analysis(engine),
            )
            choice = answer["choices"][0]
            assert choice["finish_reason"] == "stop"
            assert json.loads(choice["message"]["content"])["a"] in {1, 2}


def test_a_cut_call_is_content_and_not_complete_in_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FAMILIES["hermes"]
    with make_engine(tmp_path, family.template) as engine:
        script(monkeypatch, engine, family.two)
        n_tokens = chat(engine, tools=TOOLS)["usage"]["completion_tokens"]
        for limit in range(1, n_tokens, 4):
            choice = chat(engine, tools=TOOLS, max_tokens=limit)["choices"][0]
            message = choice["message"]
            assert choice["finish_reason"] == "length"
            assert calls_of(message) == BOTH[: len(message.get("tool_calls", ()))]
            told, reason = streamed(engine, tools=TOOLS, max_tokens=limit)
            assert reason == "length"
            begun = told.get("tool_calls", [])
            assert calls_of({"tool_calls": begun[: len(calls_of(message))]}) == calls_of(message)


def test_a_template_with_tools_in_an_unknown_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = CHATML + "{% if tools %}TOOLS{{ tools }}{% endif %}"
    with make_engine(tmp_path, source) as engine, caplog.at_level(logging.WARNING):
        style = format_of(engine).style(has_tools=True)
        assert (style.tool_format, style.is_known) == (None, False)
        (record,) = [one for one in caplog.records if "format of its calls" in one.getMessage()]
        assert "target.gguf" in record.getMessage()
        prompt = engine.detokenize(format_of(engine).prompt(engine, HELLO, tools=TOOLS))
        assert "<tool_call>" in prompt
        assert "TOOLS" not in prompt
        script(monkeypatch, engine, FAMILIES["hermes"].two)
        assert calls_of(chat(engine, tools=TOOLS)["choices"][0]["message"]) == BOTH


def test_a_template_that_shows_bare_objects(tmp_path: Path) -> None:
    source = CHATML + (
        "{% if tools %}{{ tools }}{% endif %}{% for m in messages %}"
        "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{% endfor %}"
    )
    with make_engine(tmp_path, source) as engine:
        assert format_of(engine).style(has_tools=True).tool_format == "json"
        choice = chat(engine, tools=TOOLS, tool_choice="required", temperature=1.0)["choices"][0]
    assert choice["finish_reason"] == "length" or calls_of(choice["message"])


def test_deprecated_functions_in_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["hermes"]
    functions = [tool["function"] for tool in TOOLS]
    with make_engine(tmp_path, family.template) as engine:
        script(monkeypatch, engine, family.two)
        deltas = [
            chunk["choices"][0]["delta"] for chunk in chat(engine, functions=functions, stream=True)
        ]
    pieces = [delta["function_call"] for delta in deltas if "function_call" in delta]
    assert pieces[0] == {"name": "get", "arguments": ""}
    assert "".join(piece["arguments"] for piece in pieces) == '{"city": "Rome"}'


def test_a_real_model_that_writes_calls_without_tags(real_models: Path) -> None:
    """Qwen2.5-Coder knows the tags, but writes objects or blocks of code."""
    weather = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = {"name": "get_weather", "description": "Weather of a city", "parameters": weather}
    messages = [{"role": "user", "content": "What is the weather in Rome?"}]
    tools = [{"type": "function", "function": function}]
    with Engine(real_models / "qwen2.5-coder-0.5b-instruct-q8_0.gguf", n_ctx=1024) as engine:
        answer: Any = engine.create_chat_completion(
            messages, tools=tools, temperature=0.0, max_tokens=80
        )
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls", choice
    assert calls_of(choice["message"]) == [("get_weather", {"city": "Rome"})]
