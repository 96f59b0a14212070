"""Templates of the kinds that tools are tested with."""

from __future__ import annotations

MESSAGES = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ tools | tojson }}"
SOURCES = {
    "hermes": MESSAGES + "<tool_call>",
    "llama": MESSAGES + '{"name": function name, "parameters": dictionary} <|python_tag|>',
    "mistral": MESSAGES + "[TOOL_CALLS]",
    "mistral with arguments": MESSAGES + "[TOOL_CALLS][ARGS]",
    "none": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
}
