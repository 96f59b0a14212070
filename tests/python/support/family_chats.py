"""Chat templates with the turns and control tokens of the families that people run.

They are written for these tests: short, and with no word of the families' own texts. Each shows
tools, thoughts, calls and results where the family has them. What a template shows for a turn of
the assistant is what the family's model writes as an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHATS", "FamilyChat"]


@dataclass(frozen=True)
class FamilyChat:
    """How a family chats.

    Attributes:
        form: the name of the format of calls.
        source: the template.
        tokens: the control tokens that it writes.
        end: the control tokens that end an answer; the first is the vocabulary's EOS.
        thinks: whether answers have thoughts.
        many: whether an answer has several calls.
    """

    form: str
    source: str
    tokens: tuple[str, ...]
    end: tuple[str, ...]
    thinks: bool = False
    many: bool = True


_PYTHON = (
    "{% macro python(c) %}{{ c.function.name }}({% for k, v in c.function.arguments.items() %}"
    "{{ k }}={% if v is boolean %}{{ 'True' if v else 'False' }}{% else %}{{ v | tojson }}"
    "{% endif %}{{ ', ' if not loop.last }}{% endfor %}){% endmacro %}"
)
_THOUGHT = "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
_OPEN_THOUGHT = "{{ m.reasoning_content }}\n</think>\n\n"
_EACH_CALL = "{% for c in m.tool_calls or [] %}"
_END = "{% endfor %}"


def _chatml(tools: str, call: str, *, thought: str = "", result: str, bos: str = "") -> str:
    """Turns between ``<|im_start|>`` and ``<|im_end|>``."""
    return (
        bos
        + "{% if tools %}<|im_start|>system\n"
        + tools
        + "<|im_end|>\n{% endif %}{% for m in messages %}"
        "{% if m.role == 'assistant' %}<|im_start|>assistant\n"
        + thought
        + "{{ m.content or '' }}"
        + call
        + "<|im_end|>\n{% elif m.role == 'tool' %}"
        + result
        + "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


_IM = ("<|im_start|>", "<|im_end|>")
_JSON_TOOLS = "{% for t in tools %}{{ t | tojson }}\n{% endfor %}"
_USER_RESULT = "<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"

_HERMES = _chatml(
    "<tools>\n" + _JSON_TOOLS + "</tools>\nCalls are objects between <tool_call> tags.",
    _EACH_CALL + "{{ '\n' if m.content or not loop.first }}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n'
    "</tool_call>" + _END,
    thought=_THOUGHT,
    result=_USER_RESULT,
)
_QWEN_CODER = _chatml(
    "<tools>\n"
    + _JSON_TOOLS
    + "</tools>\n<tool_call>\n<function=name>\n<parameter=name>\nvalue\n</parameter>\n"
    "</function>\n</tool_call>",
    _EACH_CALL
    + "{{ '\n' if m.content or not loop.first }}<tool_call>\n<function={{ c.function.name }}>\n"
    "{% for k, v in c.function.arguments.items() %}<parameter={{ k }}>\n"
    "{{ v if v is string else v | tojson }}\n</parameter>\n{% endfor %}</function>\n</tool_call>"
    + _END,
    result=_USER_RESULT,
)
_LFM2 = _PYTHON + _chatml(
    "Tools: <|tool_list_start|>{{ tools | tojson }}<|tool_list_end|>",
    "{% if m.tool_calls %}<|tool_call_start|>["
    + _EACH_CALL
    + "{{ python(c) }}{{ ', ' if not loop.last }}"
    + _END
    + "]<|tool_call_end|>{% endif %}",
    result="<|im_start|>tool\n<|tool_response_start|>{{ m.content }}<|tool_response_end|>"
    "<|im_end|>\n",
    bos="<|startoftext|>",
)
_LLAMA = (
    "<|begin_of_text|>{% macro turn(role) %}<|start_header_id|>{{ role }}<|end_header_id|>\n\n"
    "{% endmacro %}{% if tools %}{{ turn('system') }}Environment: ipython\n"
    + _JSON_TOOLS
    + 'A call is {"name": a function, "parameters": its values}, or code after <|python_tag|>.'
    "<|eot_id|>{% endif %}{% for m in messages %}{% if m.tool_calls %}{{ turn('assistant') }}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": '
    "{{ m.tool_calls[0].function.arguments | tojson }}}<|eot_id|>"
    "{% elif m.role == 'tool' %}{{ turn('ipython') }}{{ m.content | tojson }}<|eot_id|>"
    "{% else %}{{ turn(m.role) }}{{ m.content }}<|eot_id|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ turn('assistant') }}{% endif %}"
)


def _mistral(call: str, result: str, thought: str = "") -> str:
    """Marks without line breaks."""
    return (
        "<s>{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
        "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
        "{% elif m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]"
        "{% elif m.role == 'tool' %}"
        + result
        + "{% else %}"
        + thought
        + "{{ m.content or '' }}"
        + call
        + "</s>{% endif %}{% endfor %}"
    )


_MISTRAL_MARKS = (
    "<s>", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[INST]", "[/INST]", "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
)  # fmt: skip
_MISTRAL_2024 = _mistral(
    "{% if m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, '
    '"id": "{{ c.id }}"}{{ \', \' if not loop.last }}{% endfor %}]{% endif %}',
    '[TOOL_RESULTS]{"content": {{ m.content | tojson }}, "call_id": "{{ m.tool_call_id }}"}'
    "[/TOOL_RESULTS]",
)
_MISTRAL_2025 = _mistral(
    _EACH_CALL
    + "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}"
    + _END,
    "[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]",
    "{% if m.reasoning_content %}[THINK]{{ m.reasoning_content }}[/THINK]{% endif %}",
)


def _deep(*words: str) -> str:
    return f"<\uff5c{chr(0x2581).join(words)}\uff5c>"


_CALLS, _CALLED = _deep("tool", "calls", "begin"), _deep("tool", "calls", "end")
_CALL, _DONE, _SEP = (
    _deep("tool", "call", "begin"),
    _deep("tool", "call", "end"),
    _deep("tool", "sep"),
)
_OUT, _OUT_DONE = _deep("tool", "output", "begin"), _deep("tool", "output", "end")
_DEEP_BOS, _DEEP_EOS = _deep("begin", "of", "sentence"), _deep("end", "of", "sentence")
_DEEP_USER, _DEEP_AI = _deep("User"), _deep("Assistant")
_DEEP_MARKS = (
    _CALLS, _CALLED, _CALL, _DONE, _SEP, _OUT, _OUT_DONE,
    _DEEP_BOS, _DEEP_EOS, _DEEP_USER, _DEEP_AI,
)  # fmt: skip


def _deepseek(
    call: str, thought: str, begin: str, calls: tuple[str, str] = (_CALLS, _CALLED)
) -> str:
    """``begin``: what the prompt already has of an answer."""
    return (
        _DEEP_BOS
        + "{% if tools %}"
        + _JSON_TOOLS
        + "{% endif %}{% for m in messages %}{% if m.role == 'user' %}"
        + _DEEP_USER
        + "{{ m.content }}{% elif m.role == 'tool' %}"
        + _OUT
        + "{{ m.content }}"
        + _OUT_DONE
        + "{% elif m.role == 'system' %}{{ m.content }}{% else %}"
        + _DEEP_AI
        + begin
        + thought
        + "{{ m.content or '' }}{% if m.tool_calls %}"
        + calls[0]
        + "{% for c in m.tool_calls %}"
        + call
        + "{% endfor %}"
        + calls[1]
        + "{% endif %}"
        + _DEEP_EOS
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}"
        + _DEEP_AI
        + begin
        + "{% endif %}"
    )


_DEEPSEEK_R1 = _deepseek(
    "{{ '\n' if not loop.first }}"
    f"{_CALL}function{_SEP}{{{{ c.function.name }}}}\n```json\n"
    "{{ c.function.arguments | tojson }}\n```" + _DONE,
    _OPEN_THOUGHT,
    "<think>\n",
)
_DEEPSEEK_V31 = _deepseek(
    f"{_CALL}{{{{ c.function.name }}}}{_SEP}{{{{ c.function.arguments | tojson }}}}{_DONE}",
    "",
    "</think>",
)
_DSML = "\uff5cDSML\uff5c"
_DEEPSEEK_V32 = _deepseek(
    f'<{_DSML}invoke name="{{{{ c.function.name }}}}">\n'
    "{% for k, v in c.function.arguments.items() %}"
    f'<{_DSML}parameter name="{{{{ k }}}}" string="{{{{ v is string | tojson }}}}">'
    f"{{{{ v if v is string else v | tojson }}}}</{_DSML}parameter>\n{{% endfor %}}"
    f"</{_DSML}invoke>\n",
    _OPEN_THOUGHT,
    "<think>\n",
    (f"<{_DSML}function_calls>\n", f"</{_DSML}function_calls>"),
)
_GLM = (
    "[gMASK]<sop>{% if tools %}<|system|>\n"
    + _JSON_TOOLS
    + "<tool_call>function\n<arg_key>name</arg_key>\n<arg_value>value</arg_value>\n</tool_call>"
    "{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>"
    "{% if m.reasoning_content %}\n<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{% if m.content %}\n{{ m.content }}{% endif %}"
    + _EACH_CALL
    + "\n<tool_call>{{ c.function.name }}\n{% for k, v in c.function.arguments.items() %}"
    "<arg_key>{{ k }}</arg_key>\n<arg_value>{{ v if v is string else v | tojson }}</arg_value>\n"
    "{% endfor %}</tool_call>"
    + _END
    + "{% elif m.role == 'tool' %}<|observation|>\n<tool_response>\n{{ m.content }}\n"
    "</tool_response>{% else %}<|{{ m.role }}|>\n{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_MINIMAX = (
    "]~!b[{% if tools %}]~b]system\n"
    + _JSON_TOOLS
    + '<minimax:tool_call>\n<invoke name="function">\n</invoke>\n</minimax:tool_call>[e~[\n'
    "{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}]~b]ai\n<think>\n"
    + _OPEN_THOUGHT
    + "{{ m.content or '' }}{% if m.tool_calls %}<minimax:tool_call>\n"
    + _EACH_CALL
    + '<invoke name="{{ c.function.name }}">\n{% for k, v in c.function.arguments.items() %}'
    '<parameter name="{{ k }}">{{ v if v is string else v | tojson }}</parameter>\n{% endfor %}'
    "</invoke>\n"
    + _END
    + "</minimax:tool_call>{% endif %}[e~[\n{% elif m.role == 'tool' %}]~b]tool\n"
    "<response>{{ m.content }}</response>[e~[\n{% else %}]~b]{{ m.role }}\n{{ m.content }}[e~[\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}]~b]ai\n<think>\n{% endif %}"
)
_GPT_OSS = (
    "{% macro said(who, text) %}<|start|>{{ who }}<|message|>{{ text }}<|end|>{% endmacro %}"
    "{% if tools %}<|start|>developer<|message|>namespace functions {\n{% for t in tools %}"
    "type {{ t.function.name }} = {{ t.function.parameters | tojson }};\n{% endfor %}}<|end|>"
    "{% endif %}{% set last = namespace(name='') %}{% for m in messages %}"
    "{% if m.role == 'assistant' %}{% if m.thinking %}"
    "{{ said('assistant<|channel|>analysis', m.thinking) }}{% endif %}"
    "{% if m.tool_calls %}{% set call = m.tool_calls[0].function %}{% set last.name = call.name %}"
    "<|start|>assistant<|channel|>commentary to=functions.{{ call.name }} <|constrain|>json"
    "<|message|>{{ call.arguments | tojson }}<|call|>"
    "{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>{% endif %}"
    "{% elif m.role == 'tool' %}"
    "{{ said('functions.' ~ last.name ~ ' to=assistant<|channel|>commentary', m.content) }}"
    "{% else %}{{ said(m.role, m.content) }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
_GEMMA = (
    _PYTHON
    + "<bos>{% if messages[0].role == 'system' %}{{ raise_exception('there is no such role') }}"
    "{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}<start_of_turn>model\n"
    "{{ m.content or '' }}{% if m.tool_calls %}```tool_code\n"
    + _EACH_CALL
    + "{{ python(c) }}\n"
    + _END
    + "```{% endif %}<end_of_turn>\n{% else %}<start_of_turn>user\n"
    "{% if loop.first and tools %}{{ tools | tojson }}\n{% endif %}"
    "{% if m.role == 'tool' %}```tool_output\n{{ m.content }}\n```"
    "{% else %}{{ m.content }}{% endif %}<end_of_turn>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


_GEMMA_4 = (
    '{% macro shown(v) %}{% if v is string %}<|"|>{{ v }}<|"|>{% else %}{{ v | tojson }}'
    "{% endif %}{% endmacro %}"
    "<bos>{% if tools %}<|turn>system\n{% for t in tools %}<|tool>declaration:"
    "{{ t.function.name }}{{ t.function.parameters | tojson }}<tool|>{% endfor %}<turn|>\n"
    "{% endif %}{% set last = namespace(role='', name='') %}{% for m in messages %}"
    "{% if m.role == 'assistant' %}{% if last.role != 'tool' %}<|turn>model\n{% endif %}"
    "{% if m.reasoning_content %}<|channel>thought\n{{ m.reasoning_content }}\n<channel|>"
    "{% endif %}{{ m.content or '' }}"
    + _EACH_CALL
    + "{% set last.name = c.function.name %}<|tool_call>call:{{ c.function.name }}{{ '{' }}"
    "{% for k, v in c.function.arguments | dictsort %}{{ k }}:{{ shown(v) }}"
    "{{ ',' if not loop.last }}{% endfor %}}<tool_call|>"
    + _END
    + "{% if not m.tool_calls %}<turn|>\n{% endif %}{% elif m.role == 'tool' %}"
    '<|tool_response>response:{{ last.name }}{value:<|"|>{{ m.content }}<|"|>}<tool_response|>'
    "{% else %}<|turn>{{ m.role }}\n{{ m.content }}<turn|>\n{% endif %}"
    "{% set last.role = m.role %}{% endfor %}"
    "{% if add_generation_prompt and last.role != 'tool' %}<|turn>model\n{% endif %}"
)


def _call_list(edge: str) -> str:
    return (
        "{% if m.tool_calls %}<|tool_call|>["
        + _EACH_CALL
        + '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
        "{{ ', ' if not loop.last }}" + _END + f"]{edge}{{% endif %}}"
    )


_PHI = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>{{ m.content or '' }}"
    + _call_list("<|/tool_call|>")
    + "<|end|>{% elif m.role == 'tool' %}<|tool_response|>{{ m.content }}<|end|>"
    "{% else %}<|{{ m.role }}|>{{ m.content }}"
    "{% if loop.first and tools %}<|tool|>{{ tools | tojson }}<|/tool|>{% endif %}<|end|>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _granite(call: str) -> str:
    """Roles between marks of their own."""
    return (
        "{% macro turn(role) %}<|start_of_role|>{{ role }}<|end_of_role|>{% endmacro %}"
        "{% if tools %}{{ turn('tools') }}{{ tools | tojson }}<|end_of_text|>\n{% endif %}"
        "{% for m in messages %}{{ turn(m.role) }}{{ m.content or '' }}"
        + call
        + "<|end_of_text|>\n{% endfor %}{% if add_generation_prompt %}{{ turn('assistant') }}"
        "{% endif %}"
    )


_ROLES = ("<|start_of_role|>", "<|end_of_role|>")
_GRANITE_4 = _granite(
    _EACH_CALL + "{{ '\n' if not loop.first }}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n'
    "</tool_call>" + _END
)

CHATS: dict[str, FamilyChat] = {
    "hermes, qwen 2.5 and 3": FamilyChat("hermes", _HERMES, _IM, ("<|im_end|>",), thinks=True),
    "hermes tags as tokens": FamilyChat(
        "hermes",
        _HERMES,
        (*_IM, "<tool_call>", "</tool_call>", "<think>", "</think>"),
        ("<|im_end|>",),
        thinks=True,
    ),
    "qwen3-coder": FamilyChat("qwen3-coder", _QWEN_CODER, _IM, ("<|im_end|>",)),
    "llama 3": FamilyChat(
        "llama3",
        _LLAMA,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
         "<|python_tag|>"),
        ("<|eot_id|>",),
        many=False,
    ),
    "mistral 2024": FamilyChat("mistral", _MISTRAL_2024, (*_MISTRAL_MARKS, "</s>"), ("</s>",)),
    "mistral 2025": FamilyChat(
        "mistral-args",
        _MISTRAL_2025,
        (*_MISTRAL_MARKS, "[ARGS]", "[THINK]", "[/THINK]", "</s>"),
        ("</s>",),
        thinks=True,
    ),
    "deepseek r1": FamilyChat(
        "deepseek-r1", _DEEPSEEK_R1, _DEEP_MARKS, (_DEEP_EOS,), thinks=True
    ),
    "deepseek v3.1": FamilyChat("deepseek-v3.1", _DEEPSEEK_V31, _DEEP_MARKS, (_DEEP_EOS,)),
    "deepseek v3.2": FamilyChat(
        "deepseek-v3.2",
        _DEEPSEEK_V32,
        (_DSML, _OUT, _OUT_DONE, _DEEP_BOS, _DEEP_EOS, _DEEP_USER, _DEEP_AI),
        (_DEEP_EOS,),
        thinks=True,
    ),
    "glm-4.5": FamilyChat(
        "glm4",
        _GLM,
        ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        ("<|endoftext|>", "<|user|>", "<|observation|>"),
        thinks=True,
    ),
    "minimax-m2": FamilyChat(
        "minimax-m2",
        _MINIMAX,
        ("]~!b[", "]~b]", "[e~[", "<minimax:tool_call>", "</minimax:tool_call>", "<think>",
         "</think>"),
        ("[e~[",),
        thinks=True,
    ),
    "lfm2": FamilyChat(
        "lfm2",
        _LFM2,
        (*_IM, "<|startoftext|>", "<|tool_list_start|>", "<|tool_list_end|>", "<|tool_call_start|>",
         "<|tool_call_end|>", "<|tool_response_start|>", "<|tool_response_end|>"),
        ("<|im_end|>",),
    ),
    "gpt-oss": FamilyChat(
        "gpt-oss",
        _GPT_OSS,
        ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>",
         "<|call|>"),
        ("<|return|>", "<|call|>"),
        thinks=True,
        many=False,
    ),
    "gemma 3": FamilyChat(
        "gemma-tool-code",
        _GEMMA,
        ("<bos>", "<start_of_turn>", "<end_of_turn>"),
        ("<end_of_turn>",),
    ),
    "gemma 4": FamilyChat(
        "gemma4",
        _GEMMA_4,
        ("<bos>", "<|turn>", "<turn|>", "<|tool>", "<tool|>", "<|channel>", "<channel|>",
         "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>'),
        ("<turn|>", "<|tool_response>"),
        thinks=True,
    ),
    "phi-4-mini": FamilyChat(
        "phi4",
        _PHI,
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|tool|>", "<|/tool|>",
         "<|tool_call|>", "<|/tool_call|>", "<|tool_response|>"),
        ("<|end|>",),
    ),
    "granite 3": FamilyChat(
        "granite3",
        _granite(_call_list("")),
        (*_ROLES, "<|end_of_text|>", "<|tool_call|>"),
        ("<|end_of_text|>",),
    ),
    "granite 4": FamilyChat(
        "hermes",
        _GRANITE_4,
        (*_ROLES, "<|end_of_text|>"),
        ("<|end_of_text|>",),
    ),
}  # fmt: skip
