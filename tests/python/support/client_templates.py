"""Templates that treat roles, turns, ids and contents in the ways of public models."""

from __future__ import annotations

_EACH = "{% for m in messages %}"
_ALTERNATES = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
)

CHATML_LIKE = _EACH + "<{{ m.role }}>{{ m.content }}{% endfor %}"
DROPS_ROLES = (
    _EACH
    + "{% if m.role in ['system', 'user', 'assistant'] %}[{{ m.role }}]{{ m.content }}{% endif %}"
    + "{% endfor %}"
)
REFUSES_ROLES = (
    _EACH
    + "{% if m.role in ['system', 'user', 'assistant'] %}[{{ m.role }}]{{ m.content }}"
    + "{% else %}{{ raise_exception('role?') }}{% endif %}{% endfor %}"
)
FIRST_SYSTEM = (
    "{% if messages[0].role == 'system' %}S:{{ messages[0].content }};"
    "{% set messages = messages[1:] %}{% else %}S:usual;{% endif %}"
    + _EACH
    + "{{ m.role }}:{{ m.content }};{% endfor %}"
)
KNOWS_DEVELOPER = (
    _EACH
    + "{% if m.role == 'developer' %}DEV:{{ m.content }}{% else %}[{{ m.role }}]{{ m.content }}"
    + "{% endif %}{% endfor %}"
)
ALTERNATING = _EACH + _ALTERNATES + "{{ m.role }}: {{ m.content }}\n{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + ALTERNATING
)
FOLDS_SYSTEM = (
    "{% set before = '' %}{% if messages[0].role == 'system' %}"
    "{% set before = messages[0].content ~ ' / ' %}{% set messages = messages[1:] %}{% endif %}"
    + _EACH
    + _ALTERNATES
    + "{{ m.role }}: {% if loop.first %}{{ before }}{% endif %}{{ m.content }}\n{% endfor %}"
)
NINE_LETTERS = (
    _EACH + "{% if m.tool_calls %}{% for c in m.tool_calls %}{% if c.id | length != 9 %}"
    "{{ raise_exception('an id has nine letters') }}{% endif %}call {{ c.id }};{% endfor %}"
    "{% elif m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}"
    "{{ raise_exception('an id has nine letters') }}{% endif %}"
    "result {{ m.tool_call_id }} {{ m.content }};"
    "{% else %}[{{ m.role }}]{{ m.content }};{% endif %}{% endfor %}{% if tools %}{% endif %}"
)
WANTS_OBJECTS = (
    _EACH + "[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{% for name, value in c.function.arguments.items() %}{{ name }}={{ value }}{% endfor %}"
    "{% endfor %}{% endfor %}{% if tools %}{% endif %}"
)
PARTS_ONLY = (
    _EACH + "[{{ m.role }}]{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %}{% endfor %}"
)

_WITH_RESPONSES = (
    "{% for m in messages %}{% if TURN %}<{{ m.role }}>{% for c in m.tool_calls or [] %}"
    "[{{ c.function.name }}]{% endfor %}{% for r in m.tool_responses or [] %}"
    "({{ r.name }}:{% if r.response is mapping %}{% for k, v in r.response | dictsort %}"
    "{{ k }}={{ v }};{% endfor %}{% else %}value={{ r.response }};{% endif %}){% endfor %}"
    "{{ m.content or '' }}{% else %}"
    "({{ messages[loop.index0 - 1].tool_calls[0].function.name }}:value={{ m.content }};)"
    "{% endif %}{% endfor %}"
    "{% if tools %}{# <|tool_call> #}{% endif %}"
)
RESPONSES = _WITH_RESPONSES.replace("TURN", "true")
"""Results are parts of the message with the calls. A message of a tool is a turn."""

RESPONSES_OR_TOOLS = _WITH_RESPONSES.replace("TURN", "m.role != 'tool'")
"""The same, but a message of a tool is a result, too."""
