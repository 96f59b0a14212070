"""Fields under the names of other servers are obeyed, or refused by name; none rules in vain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_support import FakeModel, FakeText, Running, serving

from specbranch_cpp import Engine
from specbranch_cpp.grammars import Regex
from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.fields import REFUSED
from specbranch_cpp.server.other_fields import HARMLESS, UNSUPPORTED
from specbranch_cpp.server.requests import ChatBody, CompletionBody, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["n"],
    "additionalProperties": False,
}
MESSAGES = [{"role": "user", "content": "hello"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def given(chat: Any = False, **fields: Any) -> dict[str, Any]:
    """The keywords of the engine's call."""
    start: dict[str, Any] = {"messages": MESSAGES} if chat else {"prompt": "x"}
    body = json.dumps(start | fields).encode()
    read = parse(ChatBody if chat else CompletionBody, body, 64)
    assert read.unknown == []
    arguments: dict[str, Any] = read.arguments()
    return {name: value for name, value in arguments.items() if name not in start}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(FakeModel(), FakeText()) as running:
        yield running


@pytest.fixture(scope="module")
def model(pair: tuple[Path, Path]) -> Iterator[Running]:
    with Engine(*pair, n_ctx=1024, measure_costs=False) as engine, serving(engine) as running:
        yield running


@pytest.mark.parametrize(
    "name", ["n_predict", "num_predict", "max_new_tokens", "max_output_tokens"]
)
@pytest.mark.parametrize("chat", [False, True])
def test_limits(name: str, chat: bool) -> None:
    assert given(chat, **{name: 3}) == {"max_tokens": 3}
    assert given(chat, **{name: -1}) == {"max_tokens": -1}
    assert given(chat, **{name: -2}) == {"max_tokens": -2}
    assert given(chat, **{name: None}) == {}
    assert given(chat, **{name: 5, "max_tokens": 9}) == {"max_tokens": 5}
    assert given(chat, **{name: 5, "max_tokens": 2}) == {"max_tokens": 2}
    assert given(chat, **{name: -1, "max_tokens": 2}) == {"max_tokens": 2}
    with pytest.raises(BadRequest, match=f"{name} is 0"):
        given(chat, **{name: 0})
    with pytest.raises(BadRequest, match=f'^{name} is "5"') as error:
        given(chat, **{name: "5", "max_tokens": 3})
    assert error.value.param == name


def test_both_names_of_openai() -> None:
    assert given(max_completion_tokens=3) == {"max_tokens": 3}
    both = {"max_tokens": 14, "max_completion_tokens": 3}
    assert given(**both) == {"max_tokens": 3}
    assert given(chat=True, **both) == both  # the engine takes the smaller limit


@pytest.mark.parametrize(
    ("name", "ours", "value"),
    [
        ("repetition_penalty", "repeat_penalty", 1.5),
        ("random_seed", "seed", 7),
        ("stop_sequences", "stop", ["a"]),
        ("stop_strings", "stop", "a"),
        ("ban_eos_token", "ignore_eos", True),
        ("guided_grammar", "grammar", 'root ::= "x"'),
        ("grammar_string", "grammar", 'root ::= "x"'),
        ("ebnf", "grammar", 'root ::= "x"'),
        ("guided_regex", "grammar", Regex("a|b")),
        ("regex", "grammar", Regex("a|b")),
    ],
)
def test_other_names(name: str, ours: str, value: Any) -> None:
    sent = value.pattern if isinstance(value, Regex) else value
    for chat in (False, True):
        assert given(chat, **{name: sent}) == {ours: value}
    with pytest.raises(BadRequest, match="grammar"):
        given(guided_grammar=3)
    if ours != "grammar":
        assert given(**{name: value, ours: value}) == {ours: value}
        with pytest.raises(BadRequest, match="different values"):
            given(**{name: value, ours: [1]})
        with pytest.raises(BadRequest, match=name) as error:
            given(**{name: {}})
        assert error.value.param == name


def test_the_least_number_of_tokens() -> None:
    assert given(min_tokens=8, max_tokens=8) == {"max_tokens": 8, "min_tokens": 8}
    assert given(chat=True, min_new_tokens=4) == {"min_tokens": 4}
    for name in ("min_tokens", "min_new_tokens"):
        for value in (-1, "4", 1.5):
            with pytest.raises(BadRequest, match=rf"^{name} is "):
                given(**{name: value})


FORMAT = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
FORMAT_OF_ANY = {"type": "json_object"}


@pytest.mark.parametrize(
    "fields",
    [
        {"json_schema": SCHEMA},
        {"json_schema": json.dumps(SCHEMA)},
        {"guided_json": SCHEMA},
        {"guided_json": json.dumps(SCHEMA)},
        {"format": SCHEMA},
        {"structured_outputs": {"json": SCHEMA, "regex": None, "disable_fallback": True}},
        {"response_format": FORMAT},
        {"guided_regex": r"\{\"n\": [0-9]\}"},
        {"regex": r"^\{\"n\": [0-9]\}$"},
        {"structured_outputs": {"regex": r"\{\"n\": \d\}"}},
        {"guided_choice": ['{"n": 1}', '{"n": 2}']},
        {"structured_outputs": {"choice": ['{"n": 3}']}},
        {"structured_outputs": {"grammar": 'root ::= "{\\"n\\": " [0-9] "}"'}},
        {"structured_outputs": {"grammar": 'start: "{\\"n\\": " /[0-9]/ "}"'}},
        {"grammar": '%llguidance {}\nstart: "{\\"n\\": " DIGIT "}"\nDIGIT: /[0-9]/'},
    ],
)
@pytest.mark.parametrize("path", [TEXT, CHAT])
def test_the_form_of_the_answer(model: Running, path: str, fields: dict[str, Any]) -> None:
    start: dict[str, Any] = {"messages": MESSAGES} if path == CHAT else {"prompt": "x = "}
    reply = model.client.post(path, json={**start, "max_tokens": 40, "seed": 1, **fields})
    assert reply.status_code == 200, reply.text
    choice = reply.json()["choices"][0]
    text = choice["text"] if path == TEXT else choice["message"]["content"]
    assert list(json.loads(text)) == ["n"]
    assert "x-ignored-fields" not in reply.headers


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "json"},
        {"guided_json_object": True},
        {"structured_outputs": {"json_object": True}},
    ],
)
def test_any_object(fields: dict[str, Any]) -> None:
    assert given(chat=True, **fields) == {"response_format": FORMAT_OF_ANY}


@pytest.mark.parametrize(
    "fields",
    [
        {"format": ""}, {"guided_json_object": False}, {"structured_outputs": {}},
        {"structured_outputs": {"json": None}}, {"json_schema": None}, {"guided_regex": None},
        {"response_format": None}, {"grammar": ""}, {"grammar": None},
        {"grammar": "", "response_format": None}, {"structured_outputs": {"grammar": ""}},
    ],
)  # fmt: skip
def test_no_form(fields: dict[str, Any]) -> None:
    assert given(chat=True, **fields) == {}


def test_an_empty_grammar_leaves_the_form_to_others() -> None:
    assert given(chat=True, grammar="", format="json") == {"response_format": FORMAT_OF_ANY}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"json_schema": "{"}, "json_schema"),
        ({"json_schema": 5}, "json_schema"),
        ({"guided_json": [1]}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["a", 1]}, "guided_choice"),
        ({"guided_regex": 5}, "guided_regex"),
        ({"ebnf": 5}, "ebnf"),
        ({"guided_json_object": 1}, "guided_json_object"),
        ({"format": "xml"}, "format"),
        ({"structured_outputs": "json"}, "structured_outputs"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"choice": 3}}, "structured_outputs.choice"),
        ({"json_schema": SCHEMA, "guided_regex": "a"}, "json_schema"),
        ({"json_schema": SCHEMA, "grammar": "root"}, "json_schema"),
        ({"guided_choice": ["a"], "response_format": FORMAT}, "guided_choice"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs.regex"),
        ({"thinking": "some"}, "thinking"),
        ({"reasoning": "some"}, "reasoning"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"response_format": {"type": "regex"}}, "response_format.type"),
    ],
)
def test_a_wrong_form_is_named(server: Running, fields: dict[str, Any], param: str) -> None:
    reply = server.client.post(CHAT, json={"messages": MESSAGES, **fields})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] == param
    assert param.rpartition(".")[2] in error["message"]


@pytest.mark.parametrize("regex", ["(", "(?=a)b", r"(a)\1"])
def test_a_regular_expression_without_a_grammar_is_refused(model: Running, regex: str) -> None:
    reply = model.client.post(TEXT, json={"prompt": "x", "guided_regex": regex})
    assert reply.status_code == 400
    assert "pattern" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "variables"),
    [
        ({"enable_thinking": False}, {"enable_thinking": False}),
        ({"thinking": {"type": "disabled"}}, {"thinking": False, "enable_thinking": False}),
        ({"thinking": {"type": "enabled"}}, {"thinking": True, "enable_thinking": True}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
        ({"reasoning": {"enabled": False}}, {"enable_thinking": False}),
        (
            {"reasoning_effort": "none"},
            {"reasoning_effort": "none", "enable_thinking": False},
        ),
        (
            {"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False, "x": 1}},
            {"enable_thinking": False, "x": 1},
        ),
    ],
)
def test_switches_of_thoughts_reach_the_template(fields: Any, variables: Any) -> None:
    assert given(chat=True, **fields) == {"chat_template_kwargs": variables}


# For each refused field a value that asks for something, and one that does not.
ASKING: dict[str, Any] = {
    "num_beams": 4, "use_beam_search": True, "length_penalty": 2.0,
    "do_sample": False, "sampler_order": [1], "sampler_priority": ["x"],
    "sampler_seq": "kt", "temperature_last": True,
    "penalize_nl": False, "tfs": 0.5,
    "dynamic_temperature": True,
    "penalty_alpha": 0.5, "no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 1.1, "guidance_scale": 2, "cfg_scale": 2, "negative_prompt": "x",
    "logits_processors": ["x"], "bad_words": ["x"], "banned_strings": ["x"],
    "banned_tokens": "5", "custom_token_bans": "5", "allowed_token_ids": [5], "max_length": 3,
    "min_length": 3, "truncate": 9, "truncate_prompt_tokens": 2,
    "include_stop_str_in_output": True, "skip_special_tokens": False, "add_special_tokens": False,
    "prompt_logprobs": 1, "n_probs": 3, "post_sampling_probs": True, "t_max_predict_ms": 1,
    "t_max_prompt_ms": 1, "n_indent": 4, "thinking_budget_tokens": 0, "reasoning_budget": 10,
    "grammar_lazy": True, "grammar_triggers": [{}], "structural_tag": {},
    "guided_whitespace_pattern": "x", "whitespace_pattern": "x", "chat_template": "x",
    "documents": [{"text": "a"}], "system": "x", "system_prompt": "x",
    "options": {"temperature": 1}, "echo": True, "chat_template_str": "x",
    "instruction_template": "x", "instruction_template_str": "x", "thinking_forced_open": True,
    "safe_prompt": True, "instructions": "x", "previous_response_id": "x", "conversation": "x",
    "image_data": ["x"], "multimodal_data": ["x"], "prompt_embeds": ["x"], "lora_path": "x",
    "adapter_id": "x", "watermark": True, "token_healing": True, "custom_logit_processor": "x",
    "no_stop_trim": True, "stop_regex": "x", "return_full_text": True, "add_bos_token": False,
    "decoder_input_details": True, "top_n_tokens": 3, "thinking_token_budget": 9,
}  # fmt: skip
NEUTRAL: dict[str, Any] = {
    "num_beams": 1, "use_beam_search": False, "length_penalty": 1.0,
    "do_sample": True, "temperature_last": False,
    "penalize_nl": True, "tfs": 1,
    "dynamic_temperature": False,
    "penalty_alpha": 0, "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1, "guidance_scale": 1, "cfg_scale": 1, "negative_prompt": "",
    "logits_processors": [], "bad_words": [], "banned_strings": [],
    "banned_tokens": "", "custom_token_bans": "", "allowed_token_ids": [], "min_length": 0,
    "include_stop_str_in_output": False, "skip_special_tokens": True, "add_special_tokens": True,
    "n_probs": 0, "post_sampling_probs": False, "t_max_predict_ms": -1, "t_max_prompt_ms": -1,
    "n_indent": 0, "thinking_budget_tokens": -1, "reasoning_budget": -1, "grammar_lazy": False,
    "grammar_triggers": [], "documents": [], "system": "", "system_prompt": "", "options": {},
    "instruction_template": "", "safe_prompt": False, "image_data": [], "watermark": False,
    "token_healing": False, "truncate": False, "no_stop_trim": False, "return_full_text": False,
    "add_bos_token": True, "decoder_input_details": False, "top_n_tokens": 0,
}  # fmt: skip


def test_every_refused_field_has_a_value_here() -> None:
    assert set(ASKING) == set(UNSUPPORTED)
    assert set(NEUTRAL) <= set(UNSUPPORTED)
    assert not set(UNSUPPORTED) & (set(REFUSED) | HARMLESS)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_obeyed_is_refused_by_name(name: str) -> None:
    penalty = {"repeat_penalty": 1.3}
    chat = name == "echo"  # completions have this field
    with pytest.raises(BadRequest, match=f"^{name} is ") as error:
        given(chat, **{name: ASKING[name]}, **penalty)
    assert (error.value.param, error.value.code) == (name, "unsupported_value")
    assert given(chat, **{name: None}, **penalty) == penalty
    if name in NEUTRAL:
        assert given(**{name: NEUTRAL[name]}, **penalty) == penalty


def test_a_window_of_penalties_counts_only_with_a_penalty() -> None:
    assert given(penalize_nl=False, repetition_penalty=1.0) == {"repeat_penalty": 1.0}
    assert given(do_sample=False, temperature=0) == {"temperature": 0.0}
    assert given(chat=True, add_special_tokens=False) == {}


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_does_not_change_the_text_is_passed_over(name: str) -> None:
    assert given(**{name: 1}) == {}


def test_shapes_of_biases_and_scores() -> None:
    for shape in ({"15": -100}, {"hello": -100}, [[15, False]], [["hello", -1.5]]):
        assert given(logit_bias=shape) == {"logit_bias": shape}
    assert given(logprobs=False) == {}
    assert given(max_tokens=-2) == {"max_tokens": -2}
    fields = {"ignore_eos": True, "stop_token_ids": [1]}
    assert given(**fields) == fields
    fields = {"continue_final_message": True, "add_generation_prompt": False}
    assert given(chat=True, **fields) == fields


def test_wrong_messages_are_refused_before_they_wait(server: Running) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:"}}]
    for content in (parts, None):
        body = {"messages": [{"role": "user", "content": content}]}
        reply = server.client.post(CHAT, json=body)
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert error["param"] == "messages"
        assert error["message"].startswith("messages[0]['content']")


def test_custom_tools_with_a_grammar_are_left_out(model: Running) -> None:
    """Codex lists one in every request. Ollama knows no custom tools at all."""
    function = {"type": "function", "function": {"name": "f"}}
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    custom = {"type": "custom", "custom": {"name": "g", "format": grammar}}
    plain = {"type": "custom", "custom": {"name": "g"}}
    body: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 2}
    for path, tool in ((CHAT, custom), ("/api/chat", custom), ("/api/chat", plain)):
        reply = model.client.post(path, json=body | {"tools": [tool, function]})
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-ignored-fields"] == "tools[0]"
    reply = model.client.post(CHAT, json=body | {"tools": [plain, function]})
    assert reply.status_code == 200, reply.text
    assert "x-ignored-fields" not in reply.headers
    reply = model.client.post(CHAT, json=body | {"tools": [custom]})
    assert reply.status_code == 200, reply.text
    body |= {"tools": [function, custom]}
    for choice in (plain, {"type": "function", "function": {"name": "g"}}):
        reply = model.client.post(CHAT, json=body | {"tool_choice": choice})
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == "tool_choice"
    reply = model.client.post(CHAT, json=body | {"tools": [{"type": 3}]})
    assert reply.status_code == 400, reply.text


def test_fields_of_other_servers_change_the_text(model: Running) -> None:
    def text(**fields: Any) -> Any:
        body = {"prompt": "def f(", "max_tokens": 24, "temperature": 0, **fields}
        return model.client.post(TEXT, json=body).json()

    assert text()["usage"]["completion_tokens"] == 24
    penalized = text(repeat_penalty=1.5)["choices"]
    assert text(repetition_penalty=1.5)["choices"] == penalized != text()["choices"]
    assert text(n_predict=3)["usage"]["completion_tokens"] == 3
    ended = text(logit_bias={"0": 40.0})
    assert ended["usage"]["completion_tokens"] < 24
    assert text(logit_bias={"0": 40.0}, ignore_eos=True)["usage"]["completion_tokens"] == 24
    scored = text(echo=True, logprobs=1, max_tokens=0)["choices"][0]
    assert scored["text"] == "def f("
    assert len(scored["logprobs"]["token_logprobs"]) == len(scored["logprobs"]["tokens"])


def test_unknown_fields_of_stream_options_are_named(server: Running, model: Running) -> None:
    """vLLM's clients send such a field."""
    options = {"include_usage": True, "include_obfuscation": False, "continuous_usage_stats": True}
    body = {"prompt": "x", "stream": True, "stream_options": options, "max_tokens": 2, "typo": 1}
    reply = model.client.post(TEXT, json=body)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-ignored-fields"] == "typo, stream_options.continuous_usage_stats"
    assert '"total_tokens":' in reply.text
    chat = {"messages": MESSAGES, "stream": True, "stream_options": options}
    reply = server.client.post(CHAT, json=chat)
    assert reply.headers["x-ignored-fields"] == "stream_options.continuous_usage_stats"
    known = {"include_usage": True, "include_obfuscation": True}
    assert given(stream=True, stream_options=known) == {
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
