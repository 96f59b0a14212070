"""Chat templates that compute too much: the caller gets an error, soon and with little memory."""

from __future__ import annotations

import json
import mmap
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2.ext
import jinja2.sandbox
import pytest
from tests.python.support.hostile_templates import HOSTILE, TIME, UNREADABLE
from tests.python.support.special_files import no_hang
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tool_templates import SOURCES

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp.openai_api import template_limits, template_sandbox
from specbranch_cpp.openai_api.template_limits import TemplateLimit
from specbranch_cpp.openai_api.templates import CHATML, ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    with no_hang(280):  # without limits by the clock, slow machines take a minute for some
        yield


@contextmanager
def little_memory() -> Iterator[None]:
    """The process gets no memory beyond a gigabyte more than it has now."""
    status = Path("/proc/self/status").read_text()
    used_kib = int(status.partition("VmSize:")[2].split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used_kib * 1024 + (1 << 30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_the_limit_of_memory_is_one() -> None:
    with little_memory(), pytest.raises(OSError, match="memory"):
        mmap.mmap(-1, 1 << 31)
    mmap.mmap(-1, 1 << 31).close()


# Their steps take long. The limit is looked at in the same way, wherever it is.
SLOW_STEPS = (
    "call blocks", "nested loops", "loops with nothing in them", "long attributes",
    "a macro that calls itself twice",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, words = HOSTILE[name]
    if name in SLOW_STEPS:
        monkeypatch.setattr(template_limits, "STEPS", 1 << 17)
    # The clock comes last: on a slow machine, too, the other limits come first.
    monkeypatch.setattr(template_limits, "SECONDS", 0.3 if words == TIME else 1e6)
    template = ChatTemplate(source)
    with little_memory(), pytest.raises(InvalidArgument, match=words) as caught:
        template.render(HELLO)
    assert "line" in str(caught.value)


@pytest.mark.parametrize("name", UNREADABLE)
def test_templates_that_cannot_be_compiled(name: str) -> None:
    source, words = UNREADABLE[name]
    with pytest.raises(InvalidArgument, match=words):
        ChatTemplate(source)


@pytest.mark.parametrize("name", ["brackets", "doubling with ~"])
def test_a_hostile_file(tmp_path: Path, name: str) -> None:
    source, words = {**HOSTILE, **UNREADABLE}[name]
    file = write_tiny_gguf(tmp_path / "model.gguf", metadata={"tokenizer.chat_template": source})
    with Engine(file, n_ctx=128, n_threads=1) as engine:
        for _ in range(2):
            with pytest.raises(InvalidArgument, match=words):
                engine.create_chat_completion(HELLO, max_tokens=2)
        assert engine.generate("a", max_tokens=2).result().finish_reason in ("stop", "length")


def test_a_template_without_hope_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate("{{ 'a' * 10**10 }}")
    with pytest.raises(TemplateLimit):
        template.render(HELLO)
    monkeypatch.setattr(template, "_template", None)
    with pytest.raises(TemplateLimit):
        template.render(HELLO)


def test_a_client_cannot_spoil_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "STEPS", -100_000)
    template = ChatTemplate(CHATML)
    with pytest.raises(TemplateLimit):
        template.render([{"role": "user", "content": "a" * 20_000}])
    monkeypatch.undo()
    assert "hello" in template.render(HELLO)


@pytest.mark.parametrize("given", ["message", "variable"])
def test_a_number_of_a_client_cannot_spoil_a_template(given: str) -> None:
    template = ChatTemplate("{{ 'a' * (messages[0].n or n or 1) }}")
    message = {"role": "user", "content": "hello", "n": 10**9 if given == "message" else 0}
    with pytest.raises(TemplateLimit):
        template.render([message], variables={"n": 10**9})
    assert template.render([{"role": "user", "content": "hello", "n": 2}]) == "aa"


@pytest.mark.parametrize("name", ["dict", "namespace"])
def test_each_key_is_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the same hash take a time that grows with the square of their number."""
    steps: list[None] = []
    step = template_limits.Meter.step
    monkeypatch.setattr(template_limits.Meter, "step", lambda meter: steps.append(step(meter)))
    template = ChatTemplate(f"{{{{ {name}(messages[0].pairs) is defined }}}}")
    pairs = [[number * (2**61 - 1), 0] for number in range(500)]
    assert template.render([{"role": "user", "content": "", "pairs": pairs}]) == "True"
    assert len(steps) > 500


@pytest.mark.parametrize(
    "source", ["{{ messages['a' * 8000000].x }}", "{{ raise_exception('a' * 8000000) }}"]
)
def test_errors_are_short(source: str) -> None:
    with pytest.raises(InvalidArgument, match="aaa") as caught:
        ChatTemplate(source).render(HELLO)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ '\\ud800' }}", "writes half of a surrogate pair"),
        ("{{ raise_exception('a \\ud800') }}", r"refuses the messages: a \?"),
        ("{{ messages['a \\ud800'].x }}", r"no attribute 'a .*ud800'"),
    ],
)
def test_halves_of_surrogate_pairs(source: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        ChatTemplate(source).render(HELLO)
    assert str(caught.value).encode()


def test_a_form_that_computes_too_much_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    from specbranch_cpp.openai_api.template_fitting import rendered_text

    template = ChatTemplate(CHATML)
    calls = []

    def render(messages: Any, **_: Any) -> str:
        calls.append(messages)
        raise TemplateLimit("too much")

    assert template.abilities.takes_text
    monkeypatch.setattr(template, "render", render)
    with pytest.raises(TemplateLimit):
        rendered_text(template, [*HELLO, *HELLO], tools=None, variables=None)
    assert len(calls) == 1


def test_large_conversations_have_room() -> None:
    """The limits grow with the messages."""
    many = [{"role": "user", "content": f"message {i} " + "x" * 50} for i in range(20_000)]
    assert ChatTemplate(CHATML).render(many).count("<|im_start|>") == 20_001
    copies = (
        "{% for m in messages %}" + "{% set x = m.content + 'x' %}" * 20 + "{{ x }}{% endfor %}"
    )
    long = [{"role": "user", "content": "x" * 20_000_000}]
    assert len(ChatTemplate(copies).render(long)) == 20_000_001


def plain_jinja() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = lambda value, **options: json.dumps(
        value, **{"ensure_ascii": False, **options}
    )
    return made


ORDINARY = {
    **SOURCES,
    "chatml": CHATML,
    "operators": "{{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ -3 + 1 }} {{ 'a' * 3 }}"
    "{{ 'ab' ~ 1 ~ x }}",
    "formats": "{{ '%5.2f|%-4s|%%' % (1.5, 'a') }} {{ '%%5000d %(a(b))s' % {'a(b)': 1} }}"
    "{{ '{:>5}{b}'.format('x', b=[1]) }}"
    "{{ '%s %s' | format('a', 1) }}{{ '{a}'.format_map({'a': 1}) }}",
    "texts": "{{ ' a\nb '.strip().split('\n') }}{{ 'a-b'.rsplit('-', 1)[0] }}"
    "{{ 'ab'.replace('a', 'c') }}"
    "{{ ', '.join(['a', 'b']) }}{{ 'Ab'.upper() }}{{ 'ab'[::-1] }}{{ 'a\nb' | indent(2, true) }}",
    "sequences": "{{ messages[1:] | length }}{{ [1, 2, 3] | select('odd') | list }}{{ (1, 2)[0] }}"
    "{{ messages | map(attribute='role') | join(',') }}{{ messages | join('-', attribute='role') }}"
    "{{ [3, 1] | sort }}{{ [1, 2] | sum }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ [1, 2] + [3] }}"
    "{{ messages | rejectattr('tool_calls', 'defined') | map(attribute='content') | list }}"
    "{{ range(3) | batch(2, 'x') | list }}{{ [[1, 2]] | sum(start=[]) }}{{ 'ba' | list }}",
    "objects": "{{ {'a': 1}.items() | list }}{% for k, v in {'b': [1]} | items %}{{ k }}{{ v }}"
    "{% endfor %}{{ {'a': {'b': 1}} | tojson(indent=2) }}{{ {'b': 1, 'a': 2} | dictsort }}"
    "{{ dict(a=1).get('b', 'none') }}{{ dict([(1, 2)], b=3) }}{{ {'é': '<'} | tojson }}",
    "loops": "{% for a in [[1, [2]], 3] recursive %}{{ loop.index }}{{ loop.cycle('x', 'y') }}"
    "{% if a is iterable %}{{ loop(a) }}{% endif %}{% else %}none{% endfor %}"
    "{% for a in [] %}{% else %}none{% endfor %}"
    "{% for a, b in [(1, 2)] if a < b %}{{ a }}{% endfor %}",
    "macros": "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller }}{% endmacro %}{{ m(1) }}"
    "{% call m(3) %}x{% endcall %}{% filter upper %}a{{ x }}{% endfilter %}"
    "{% set y %}z{{ m(5) }}{% endset %}{{ y | length }}{% block q %}b{% endblock %}",
    "namespaces": "{% set ns = namespace(a=1) %}{% set ns.b = 2 %}{{ ns.a + ns.b }}{{ ns }}"
    "{% set ns = namespace({'c': 3}) %}{{ ns.c }}{{ ns.d is defined }}",
    "tests": "{{ x is defined }}{{ 1 is divisibleby(1) }}{{ 'a' in 'abc' }}{{ 1 < 2 < 3 }}"
    "{{ none is none }}{{ 'a' is string }}{{ [] is iterable }}{{ not x }}{{ x or 'else' }}",
    "numbers": "{{ '12' | int }}{{ 'x' | int(7) }}{{ 1.55 | round(1) }}"
    "{{ '1.5' | float }}{{ -1 | abs }}",
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_templates_are_what_jinja_makes_of_them(name: str) -> None:
    messages = [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "hello <b>"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "and?\nwhat"},
    ]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    given = {"documents": None, "add_generation_prompt": True, "messages": messages}
    for tools in (None, [tool]):
        expected = plain_jinja().from_string(ORDINARY[name]).render(
            {**given, "bos_token": "<s>", "eos_token": "</s>", "tools": tools}
        )  # fmt: skip
        template = ChatTemplate(ORDINARY[name], "<s>", "</s>")
        assert template.render(messages, tools=tools) == expected
        assert expected


def test_nothing_is_computed_before_there_is_a_meter() -> None:
    """A constant expression could be computed while its template is compiled."""
    for source, _ in HOSTILE.values():
        ChatTemplate(source)
    assert not template_sandbox.Sandbox([]).optimized
