"""The families' formats of tool calls: a small template with the family's marks, and what a model
of the family writes.

The transcripts call ``get`` with the city Rome, and ``set`` with two values of other types.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp.openai_api.templates import ChatTemplate
from specbranch_cpp.openai_api.tool_calls.choice import format_of_template

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.tool_calls.tool_format import ToolFormat

__all__ = ["BOTH", "FAMILIES", "FUNCTIONS", "GET", "SET", "TOOLS", "Family", "form_of"]

GET = ("get", {"city": "Rome"})
SET = ("set", {"n": 3, "on": True})
BOTH = [GET, SET]

_GET = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_SET = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "on": {"type": "boolean"}},
    "required": ["n", "on"],
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "get", "parameters": _GET}},
    {"type": "function", "function": {"name": "set", "parameters": _SET}},
]
FUNCTIONS: dict[str, Any] = {tool["function"]["name"]: tool["function"] for tool in TOOLS}


@dataclass(frozen=True)
class Family:
    """A format.

    Attributes:
        source: the part of a template that mentions the marks.
        one: the text of one call.
        two: the text of two calls; empty: the format has one call in an answer.
        tokens: the marks that are control tokens in the family's vocabulary.
        begins: whether the calls must be at the beginning of the answer.
        channels: whether text around calls needs channels.
        starts: what the end of the prompt already has of the answer.
    """

    source: str
    one: str
    two: str = ""
    tokens: tuple[str, ...] = ()
    begins: bool = False
    channels: bool = False
    starts: str = ""

    @property
    def template(self) -> str:
        """A template with these marks. It shows messages, tools and calls."""
        return (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}"
            "{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}\n"
            "{% endfor %}{{ tools | tojson }}{% raw %}" + self.source + "{% endraw %}\n"
            "assistant: " + self.starts
        )

    @property
    def form(self) -> ToolFormat:
        return form_of(self.template)


@functools.cache
def form_of(template: str) -> ToolFormat:
    """The format that the template shows, which has no state."""
    form = format_of_template(ChatTemplate(template), lambda _: False)
    assert form is not None
    return form


def _deep(*words: str) -> str:
    return f"<\uff5c{chr(0x2581).join(words)}\uff5c>"


_ALL, _ENDED = _deep("tool", "calls", "begin"), _deep("tool", "calls", "end")
_ONE, _DONE = _deep("tool", "call", "begin"), _deep("tool", "call", "end")
_SEP = _deep("tool", "sep")

_JSON_GET = '{"name": "get", "arguments": {"city": "Rome"}}'
_JSON_SET = '{"name": "set", "arguments": {"n": 3, "on": true}}'
_BLOCK_GET = f'{_ONE}function{_SEP}get\n```json\n{{"city": "Rome"}}\n```{_DONE}'
_BLOCK_SET = f'{_ONE}function{_SEP}set\n```json\n{{"n": 3, "on": true}}\n```{_DONE}'
_V31_GET = f'{_ONE}get{_SEP}{{"city": "Rome"}}{_DONE}'
_V31_SET = f'{_ONE}set{_SEP}{{"n": 3, "on": true}}{_DONE}'
_CODER_GET = "<function=get>\n<parameter=city>\nRome\n</parameter>\n</function>"
_CODER_SET = (
    "<function=set>\n<parameter=n>\n3\n</parameter>\n<parameter=on>\ntrue\n</parameter>\n"
    "</function>"
)
_SEED_GET = "<function=get>\n<parameter=city>Rome</parameter>\n</function>"
_SEED_SET = (
    "<function=set>\n<parameter=n>3</parameter>\n<parameter=on>true</parameter>\n</function>"
)
_GLM_GET = "<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n</tool_call>"
_GLM_SET = (
    "<tool_call>set\n<arg_key>n</arg_key>\n<arg_value>3</arg_value>\n"
    "<arg_key>on</arg_key>\n<arg_value>true</arg_value>\n</tool_call>"
)
_M2_GET = '<invoke name="get">\n<parameter name="city">Rome</parameter>\n</invoke>\n'
_M2_SET = (
    '<invoke name="set">\n<parameter name="n">3</parameter>\n'
    '<parameter name="on">true</parameter>\n</invoke>\n'
)
_DSML = "\uff5cDSML\uff5c"
_DSML_GET = (
    f'<{_DSML}invoke name="get">\n<{_DSML}parameter name="city" string="true">Rome'
    f"</{_DSML}parameter>\n</{_DSML}invoke>"
)
_DSML_SET = (
    f'<{_DSML}invoke name="set">\n<{_DSML}parameter name="n" string="false">3</{_DSML}parameter>\n'
    f'<{_DSML}parameter name="on" string="false">true</{_DSML}parameter>\n</{_DSML}invoke>'
)
_GEMMA_GET = '<|tool_call>call:get{city:<|"|>Rome<|"|>}<tool_call|>'
_GEMMA_SET = "<|tool_call>call:set{n:3,on:true}<tool_call|>"
_FUNCTION_GEMMA_GET = "<start_function_call>call:get{city:<escape>Rome<escape>}<end_function_call>"
_FUNCTION_GEMMA_SET = "<start_function_call>call:set{n:3,on:true}<end_function_call>"
_KIMI_GET = (
    "<|tool_call_begin|>functions.get:0<|tool_call_argument_begin|>"
    '{"city": "Rome"}<|tool_call_end|>'
)
_KIMI_SET = (
    "<|tool_call_begin|>functions.set:1<|tool_call_argument_begin|>"
    '{"n": 3, "on": true}<|tool_call_end|>'
)
_COMMAND_GET = '{"tool_call_id": "0", "tool_name": "get", "parameters": {"city": "Rome"}}'
_COMMAND_SET = '{"tool_call_id": "1", "tool_name": "set", "parameters": {"n": 3, "on": true}}'
_PYTHON_GET = 'get(city="Rome")'
_PYTHON_SET = "set(n=3, on=True)"

FAMILIES: dict[str, Family] = {
    "hermes": Family(
        '<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>',
        f"<tool_call>\n{_JSON_GET}\n</tool_call>",
        f"<tool_call>\n{_JSON_GET}\n</tool_call>\n<tool_call>\n{_JSON_SET}\n</tool_call>",
    ),
    "hermes, a list in the tag": Family(
        "<tool_call>",
        f"<tool_call>[{_JSON_GET}]</tool_call>",
        f"<tool_call>[{_JSON_GET}, {_JSON_SET}]</tool_call>",
    ),
    "hermes, arguments as text": Family(
        "<tool_call>",
        '<tool_call>{"name": "get", "arguments": "{\\"city\\": \\"Rome\\"}"}</tool_call>',
    ),
    "hermes, arguments first": Family(
        "<tool_call>",
        '<tool_call>{"arguments": {"city": "Rome"}, "name": "get"}</tool_call>',
    ),
    "qwen2.5-coder, an object alone": Family("<tool_call>", _JSON_GET, begins=True),
    "qwen2.5-coder, a block of code": Family(
        "<tool_call>",
        f"```json\n{_JSON_GET}\n```",
        f"```json\n[{_JSON_GET}, {_JSON_SET}]\n```",
    ),
    "qwen3-coder": Family(
        "<tool_call>\n<function=name>\n<parameter=name>",
        f"<tool_call>\n{_CODER_GET}\n</tool_call>",
        f"<tool_call>\n{_CODER_GET}\n</tool_call>\n<tool_call>\n{_CODER_SET}\n</tool_call>",
    ),
    "qwen3-coder without the first tag": Family(
        "<tool_call>\n<function=name>\n<parameter=name>",
        f"{_CODER_GET}\n</tool_call>",
        f"{_CODER_GET}\n{_CODER_SET}\n</tool_call>",
    ),
    "seed-oss": Family(
        "<seed:tool_call>\n<function=name>\n<parameter=name>",
        f"<seed:tool_call>\n{_SEED_GET}\n</seed:tool_call>",
        f"<seed:tool_call>\n{_SEED_GET}\n</seed:tool_call>\n"
        f"<seed:tool_call>\n{_SEED_SET}\n</seed:tool_call>",
        tokens=("<seed:tool_call>", "</seed:tool_call>"),
    ),
    "glm-4.5": Family(
        "<tool_call>{name}\n<arg_key>{key}</arg_key>\n<arg_value>",
        _GLM_GET,
        f"{_GLM_GET}\n{_GLM_SET}",
    ),
    "minimax-m2": Family(
        '<minimax:tool_call>\n<invoke name="name">',
        f"<minimax:tool_call>\n{_M2_GET}</minimax:tool_call>",
        f"<minimax:tool_call>\n{_M2_GET}{_M2_SET}</minimax:tool_call>",
        tokens=("<minimax:tool_call>", "</minimax:tool_call>"),
    ),
    "llama 3": Family(
        '{"name": function name, "parameters": dictionary} <|python_tag|>',
        '{"name": "get", "parameters": {"city": "Rome"}}',
        '{"name": "get", "parameters": {"city": "Rome"}}; '
        '{"name": "set", "parameters": {"n": 3, "on": true}}',
        tokens=("<|python_tag|>",),
        begins=True,
    ),
    "llama 3, tag": Family(
        "<|python_tag|>",
        '<|python_tag|>{"type": "function", "name": "get", "parameters": {"city": "Rome"}}',
        tokens=("<|python_tag|>",),
    ),
    "llama 3.1, function tag": Family(
        "<function=name>{{ arguments }}</function>",
        '<function=get>{"city": "Rome"}</function>',
        '<function=get>{"city": "Rome"}</function>\n<function=set>{"n": 3, "on": true}</function>',
    ),
    "llama 4, pythonic": Family(
        "[func_name1(params_name1=params_value1)]",
        f"[{_PYTHON_GET}]",
        f"[{_PYTHON_GET}, {_PYTHON_SET}]",
        begins=True,
    ),
    "mistral 2024": Family(
        "[TOOL_CALLS]",
        '[TOOL_CALLS][{"name": "get", "arguments": {"city": "Rome"}, "id": "abcdefghi"}]',
        f"[TOOL_CALLS] [{_JSON_GET}, {_JSON_SET}]",
        tokens=("[TOOL_CALLS]",),
    ),
    "mistral 2025": Family(
        "[TOOL_CALLS][ARGS]",
        '[TOOL_CALLS]get[ARGS]{"city": "Rome"}',
        '[TOOL_CALLS]get[CALL_ID]abcdefghi[ARGS]{"city": "Rome"}'
        '[TOOL_CALLS]set[ARGS]{"n": 3, "on": true}',
        tokens=("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
    ),
    "deepseek r1": Family(
        f"{_ALL}{_ONE}function{_SEP}name\n```json\n```{_DONE}",
        f"{_ALL}{_BLOCK_GET}{_ENDED}",
        f"{_ALL}{_BLOCK_GET}\n{_BLOCK_SET}{_ENDED}",
        tokens=(_ALL, _ENDED, _ONE, _DONE, _SEP),
    ),
    "deepseek v3.1": Family(
        f"{_ALL}{_ONE}name{_SEP}",
        f"{_ALL}{_V31_GET}{_ENDED}",
        f"{_ALL}{_V31_GET}{_V31_SET}{_ENDED}",
        tokens=(_ALL, _ENDED, _ONE, _DONE, _SEP),
    ),
    "deepseek v3.2": Family(
        f"<{_DSML}function_calls>",
        f"<{_DSML}function_calls>\n{_DSML_GET}\n</{_DSML}function_calls>",
        f"<{_DSML}function_calls>\n{_DSML_GET}\n{_DSML_SET}\n</{_DSML}function_calls>",
        tokens=(_DSML,),
    ),
    "deepseek v4": Family(
        f"<{_DSML}tool_calls>",
        f"<{_DSML}tool_calls>\n{_DSML_GET}\n</{_DSML}tool_calls>",
        f"<{_DSML}tool_calls>\n{_DSML_GET}\n{_DSML_SET}\n</{_DSML}tool_calls>",
        tokens=(_DSML,),
    ),
    "kimi k2": Family(
        "<|tool_calls_section_begin|>",
        f"<|tool_calls_section_begin|>{_KIMI_GET}<|tool_calls_section_end|>",
        f"<|tool_calls_section_begin|>{_KIMI_GET}{_KIMI_SET}<|tool_calls_section_end|>",
        tokens=(
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
            "<|tool_call_begin|>",
            "<|tool_call_argument_begin|>",
            "<|tool_call_end|>",
        ),
    ),
    "kimi k2, in the singular": Family(
        "<|tool_calls_section_begin|>",
        f"<|tool_call_section_begin|>{_KIMI_GET}<|tool_call_section_end|>",
        f"<|tool_call_section_begin|>{_KIMI_GET}{_KIMI_SET}<|tool_call_section_end|>",
    ),
    "lfm2": Family(
        "<|tool_list_start|>",
        f"<|tool_call_start|>[{_PYTHON_GET}]<|tool_call_end|>",
        f"<|tool_call_start|>[{_PYTHON_GET}, {_PYTHON_SET}]<|tool_call_end|>",
        tokens=("<|tool_list_start|>", "<|tool_call_start|>", "<|tool_call_end|>"),
    ),
    "olmo 3": Family(
        "<function_calls>",
        f"<function_calls>\n{_PYTHON_GET}\n</function_calls>",
        f"<function_calls>\n{_PYTHON_GET}\n{_PYTHON_SET}\n</function_calls>",
    ),
    "gemma 3": Family(
        "```tool_code",
        f"```tool_code\n{_PYTHON_GET}\n```",
        f"```tool_code\nprint({_PYTHON_GET})\n{_PYTHON_SET}\n```",
    ),
    "gemma 4": Family(
        "<|tool_call>call:",
        _GEMMA_GET,
        f"{_GEMMA_GET}{_GEMMA_SET}",
        tokens=("<|tool_call>", "<tool_call|>", '<|"|>'),
    ),
    "function gemma": Family(
        "<start_function_call>",
        _FUNCTION_GEMMA_GET,
        f"{_FUNCTION_GEMMA_GET}{_FUNCTION_GEMMA_SET}",
        tokens=("<start_function_call>", "<end_function_call>", "<escape>"),
    ),
    "gigachat 3.1": Family(
        "<|function_call|>",
        f"<|function_call|>{_JSON_GET}",
        tokens=("<|function_call|>",),
    ),
    "phi-4-mini": Family(
        "<|tool|><|/tool|>",
        f"<|tool_call|>[{_JSON_GET}]<|/tool_call|>",
        f"<|tool_call|>[{_JSON_GET}, {_JSON_SET}]<|/tool_call|>",
        tokens=("<|tool_call|>", "<|/tool_call|>"),
    ),
    "granite 3": Family(
        "<|tool_call|>",
        f"<|tool_call|>[{_JSON_GET}]",
        f"<|tool_call|>[{_JSON_GET}, {_JSON_SET}]",
        tokens=("<|tool_call|>",),
    ),
    "command r7b": Family(
        "<|START_ACTION|>",
        f"<|START_ACTION|>[\n    {_COMMAND_GET}\n]<|END_ACTION|>",
        f"<|START_ACTION|>[\n    {_COMMAND_GET},\n    {_COMMAND_SET}\n]<|END_ACTION|>",
        tokens=("<|START_ACTION|>", "<|END_ACTION|>"),
    ),
    "nemotron": Family(
        "<TOOLCALL>",
        f"<TOOLCALL>[{_JSON_GET}]</TOOLCALL>",
        f"<TOOLCALL>[{_JSON_GET}, {_JSON_SET}]</TOOLCALL>",
    ),
    "firefunction": Family(
        "functools[",
        f" functools[{_JSON_GET}]",
        f" functools[{_JSON_GET}, {_JSON_SET}]",
    ),
    "functionary 3.2": Family(
        ">>>all",
        'get\n{"city": "Rome"}',
        'get\n{"city": "Rome"}>>>set\n{"n": 3, "on": true}',
        begins=True,
        starts=">>>",
    ),
    "gpt-oss": Family(
        "<|start|>assistant<|channel|>commentary to=functions.",
        "<|channel|>commentary to=functions.get <|constrain|>json<|message|>"
        '{"city": "Rome"}<|call|>',
        '<|channel|>commentary to=functions.get<|message|>{"city": "Rome"}<|call|>'
        "<|start|>assistant to=functions.set<|channel|>commentary json<|message|>"
        '{"n": 3, "on": true}<|call|>',
        tokens=(
            "<|start|>",
            "<|end|>",
            "<|message|>",
            "<|channel|>",
            "<|constrain|>",
            "<|return|>",
            "<|call|>",
        ),
        begins=True,
        channels=True,
    ),
}
