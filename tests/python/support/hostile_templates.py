"""Chat templates of files that somebody made to harm: each would take all time or all memory."""

from __future__ import annotations

_MANY = "{% for i in range(99999) %}"
_END = "{% endfor %}"
_BIG = "{% set a = 'a' * 8000000 %}{% set b = 'a' * 8000000 %}"


def _doubled(start: str, step: str, shown: str = "ns.s") -> str:
    """A value that is made from itself twice, sixty times."""
    return (
        f"{{% set ns = namespace(s={start}) %}}{{% for i in range(60) %}}{step}{{% endfor %}}"
        f"{{{{ {shown} }}}}"
    )


def _set(value: str) -> str:
    return f"{{% set ns.s = {value} %}}"


def _chained(shown: str) -> str:
    """Forty namespaces, each of which has the one before twice."""
    names = [f"{{% set a{i + 1} = namespace(x=a{i}, y=a{i}) %}}" for i in range(40)]
    return f"{{% set a0 = 1 %}}{''.join(names)}{{{{ {shown} }}}}"


def _beside(value: str, attribute: str) -> str:
    """A light value with a heavy attribute, joined many times."""
    return f"{{{{ ([{value}] * 4000) | join(attribute='{attribute}') }}}}"


WIDTH, VALUE, SUM, STEPS = "a width is above", "a value has more than", "all values have", "steps"
CALLS, TIME, METHOD, BITS = "macros call each other", "seconds", "is not for templates", "bits"
WORDS = "a text with words has more than"

HOSTILE: dict[str, tuple[str, str]] = {
    "width of a number": ("{{ '%1000000000d' % 1 }}", WIDTH),
    "width as an argument": ("{{ '%*d' % (10**9, 1) }}", WIDTH),
    "width behind a name with parentheses": (
        "{{ '%(a(b))1000000000d' % {'a(b)': 1} }}", WIDTH),
    "precision": ("{{ '%.1000000000f' % 1 }}", WIDTH),
    "many uses of a name": ("{{ ('%(a)s' * 4000) % {'a': 'x' * 1000000} }}", VALUE),
    "filter format": ("{{ '%1000000000d' | format(1) }}", WIDTH),
    "str.format": ("{{ '{:1000000000}'.format(1) }}", WIDTH),
    "str.format with a width as an argument": ("{{ '{:{w}}'.format(1, w=10**9) }}", WIDTH),
    "str.format with many uses": ("{{ ('{0}' * 100000).format('x' * 1000000) }}", SUM),
    "str.format_map": ("{{ '{a:1000000000}'.format_map({'a': 1}) }}", WIDTH),
    "filter on str.format": (
        "{{ (['{:1000000000}'] | map(attribute='format') | first)(1) }}", WIDTH),
    "indentation of JSON": ("{{ [1, 2] | tojson(indent=10**9) }}", WIDTH),
    "indentation of JSON with text": ("{{ [1] | tojson(indent='x' * 100000) }}", WIDTH),
    "separators of JSON": ("{{ [1] | tojson(separators=('x' * 100000, 'y')) }}", WIDTH),
    "indentation": ("{{ ('a\n' * 100000) | indent(10**6) }}", WIDTH),
    "indentation of many lines": ("{{ ('a\n' * 1000000) | indent(1000) }}", VALUE),
    "center": ("{{ 'a' | center(10**10) }}", WIDTH),
    "center of a constant": ("{{ 'a' | center(10**10) | length }}", WIDTH),
    "ljust": ("{{ 'a'.ljust(10**10) }}", WIDTH),
    "zfill": ("{{ 'a'.zfill(10**10) }}", WIDTH),
    "expandtabs": ("{{ '\t'.expandtabs(10**10) }}", WIDTH),
    "batch": ("{{ [1] | batch(10**10, 0) | list }}", WIDTH),
    "slice": ("{{ [1] | slice(10**10) | list }}", WIDTH),
    "round": ("{{ 1 | round(10**9) }}", WIDTH),
    "translate": ("{{ ('a' * 1000000).translate({97: 'x' * 1000000}) }}", METHOD),
    "to_bytes": ("{{ (1).to_bytes(10**10, 'big') }}", METHOD),
    "fromkeys": ("{{ {}.fromkeys(range(9)) }}", METHOD),
    "replace": ("{{ ('a' * 1000000).replace('a', 'x' * 1000000) }}", VALUE),
    "filter replace": ("{{ ('a' * 1000000) | replace('', 'x' * 1000000) }}", VALUE),
    "filter replace with names": (
        "{{ ('a' * 1000000) | replace(new='x' * 1000000, old='a') }}", VALUE),
    "filter block": ("{% filter replace('a', 'x' * 1000000) %}" + "a" * 9999 + "{% endfilter %}",
                     VALUE),
    "join": ("{{ ('x' * 1000000).join('a' * 1000000) }}", VALUE),
    "filter join": ("{{ range(99999) | join('x' * 1000000) }}", VALUE),
    "join of neighbours in a loop": (
        "{% for x in ['a' * 8000000, 1] %}{% if loop.last %}" + _beside("loop", "previtem")
        + "{% endif %}{% endfor %}", VALUE),
    "join of what a cycler gives": (
        "{% set c = cycler('a' * 8000000) %}" + _beside("c", "current"), VALUE),
    "join of a generator": ("{{ ('x' * 10000).join(range(99999) | map('string')) }}", VALUE),
    "repetition": ("{{ 'a' * 10**10 }}", VALUE),
    "repetition of a list": ("{{ 10**10 * [1] }}", VALUE),
    "doubling with ~": (_doubled("'a'", _set("ns.s ~ ns.s")), VALUE),
    "doubling with +": (_doubled("'a'", _set("ns.s + ns.s")), VALUE),
    "doubling with a block": (
        _doubled("'a'", "{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"), VALUE),
    "doubling with join": (_doubled("'a'", _set("[ns.s, ns.s] | join")), VALUE),
    "doubling with replace": (_doubled("'a'", _set("ns.s | replace('a', 'aa')")), VALUE),
    "doubling of lists": (_doubled("[1]", _set("[ns.s, ns.s]")), VALUE),
    "doubling of tuples": (_doubled("(1,)", _set("(ns.s, ns.s)"), "{ns.s: 1}"), VALUE),
    "doubling of objects": (_doubled("{}", _set("{'a': ns.s, 'b': ns.s}"), "ns.s | tojson"), VALUE),
    "doubling with dict": (_doubled("{}", _set("dict(a=ns.s, b=ns.s)")), VALUE),
    "doubling of namespaces": (_doubled("1", _set("namespace(a=ns.s, b=ns.s)")), VALUE),
    "a namespace in itself": ("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", VALUE),
    "a filter on many namespaces": (_chained("a40 | upper"), VALUE),
    "a test of many namespaces": (_chained("a40 is upper"), VALUE),
    "str.format with many namespaces": (_chained("'{0!s}'.format(a40)"), VALUE),
    "an error with many namespaces": (_chained("raise_exception(a40)"), VALUE),
    "a name of many namespaces": (_chained("messages[a40].x"), VALUE),
    "call blocks": ("{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
                    + "{% call m() %}" * 18 + "x" + "{% endcall %}" * 18, STEPS),
    "power": ("{{ 9**9**9**9**9 }}", BITS),
    "product": ("{{ (9**1000) * (9**1000) }}", BITS),
    "nested loops": (_MANY * 5 + "x" + _END * 5, STEPS),
    "loops with nothing in them": (_MANY * 3 + "{% if false %}{% endif %}" + _END * 3, STEPS),
    "loops with a condition": (_MANY + "{% for j in range(99999) if false %}" + _END * 2, STEPS),
    "select": (_MANY + "{% set x = range(99999) | select('odd') | list %}" + _END, STEPS),
    "sum": (_MANY + "{% set x = range(99999) | sum %}" + _END, STEPS),
    "sum of lists": ("{{ (range(99999) | map('string') | map('list') | list) | sum(start=[]) }}",
                     STEPS),
    "long attributes": ("{{ range(99999) | map(attribute='" + "real." * 5000 + "real') | list }}",
                        STEPS),
    "a macro that calls itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", CALLS),
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        STEPS),
    "a loop in itself": ("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", CALLS),
    "a block in itself": ("{% block a %}{{ self.a() }}{% endblock %}", CALLS),
    "much text in loops": (_MANY * 2 + "x" * 100000 + _END * 2, SUM),
    "much text in a block": (
        "{% block a %}" + "x" * 99999 + "{% endblock %}" + _MANY + "{{ self.a() }}" + _END, SUM),
    "many large values": (_MANY + "{% set x = 'a' * 8000000 %}" + _END, SUM),
    "many copies": (_BIG + _MANY + "{% set x = a[1:] %}" + _END, SUM),
    "joiner": (_MANY + "{{ joiner('x' * 8000000)() }}" + _END, SUM),
    "escape": (_MANY + "{{ ('<' * 1000000) | e | length }}" + _END, SUM),
    "comparisons": (_BIG + _MANY + "{% set c = a == b %}" + _END, TIME),
    "searches": (_BIG + _MANY + "{% set c = 'b' in a %}" + _END, TIME),
    "count": (_BIG + _MANY + "{% set c = a.count('a') %}" + _END, TIME),
    "largest number": (_MANY + "{% set x = range(99999) | max %}" + _END, TIME),
    "search from the right": (_BIG + "{{ a.rfind('b' ~ 'a' * 400000) }}", "searched from the rig"),
    "words": ("{{ ('a ' * 4000000).split() }}", "more than 100,000 parts"),
    "lines": ("{{ ('a\n' * 4000000).splitlines() }}", "more than 100,000 lines"),
    "characters": ("{{ ('a' * 8000000) | list }}", VALUE),
    "strip": ("{{ ('a' * 8000000).strip('b' * 8000000) }}", WIDTH),
    "trim": ("{{ ('a' * 8000000) | trim('b' * 8000000) }}", WIDTH),
    "pprint": ("{{ range(99999) | list | pprint }}", VALUE),
    "wordwrap": ("{{ ('a ' * 1000000) | wordwrap(1, wrapstring='x' * 10000) }}", VALUE),
    "urlize": ("{{ ('http://a.b ' * 100000) | urlize }}", VALUE),
    "striptags": ("{{ ('<!--' * 1000000) | striptags }}", VALUE),
    "title": ("{{ ('ab-' * 2700000) | title }}", WORDS),
    "wordcount": ("{{ ('ab-' * 2700000) | wordcount }}", WORDS),
    "urlencode": ("{{ ('/' * 8000000) | urlencode }}", WORDS),
    "xmlattr": ("{{ {'a': 'b' * 1000000} | xmlattr }}", VALUE),
    "lipsum": ("{{ lipsum(n=100000000) }}", "undefined"),
    "range of equal hashes": (
        "{{ dict(range(0, 99999 * (2**61 - 1), 2**61 - 1) | batch(2) | list) }}", BITS),
    "a format that is never closed": ("{{ ('%(' * 4000000) % {} }}", "the text before %"),
    "range": ("{{ range(10**9) }}", "Range too big"),
    "int": ("{{ ('9' * 1000000) | int }}", WIDTH),
    "float": ("{{ ('9' * 1000000) | float }}", WIDTH),
    "deep lists": (
        "{% set ns = namespace(s=[]) %}{% for i in range(1500) %}"
        + _set("[ns.s]") + "{% endfor %}{{ ns.s | tojson }}", "nested too deeply"),
    "a form of dates": ("{{ strftime_now('%Y' * 1000000) }}", "a form of dates has more than"),
}  # fmt: skip
"""What each does, the template, and words of the error."""

_HALF = 60_000

UNREADABLE: dict[str, tuple[str, str]] = {
    "brackets": ("{{" + "(" * _HALF + ")" * _HALF + "}}", "nested too deeply"),
    "lists": ("{{" + "[" * _HALF + "]" * _HALF + "}}", "nested too deeply"),
    "negations": ("{{" + "not " * 30_000 + "a }}", "nested too deeply"),
    "minus": ("{{" + "-" * _HALF + "1 }}", "nested too deeply"),
    "sum": ("{{ a" + "+a" * 4_000 + " }}", "nested too deeply"),
    "filters": ("{{ a" + "|e" * 8_000 + " }}", "nested too deeply"),
    "calls": ("{{ a" + "()" * 8_000 + " }}", "nested too deeply"),
    "loops": ("{% for a in a %}" * 200 + "{% endfor %}" * 200, "nested too deeply"),
    "parts": ("{{ a }}" * 15_000, "more than 10,000 parts"),
    "length": ("x" * 200_000, "has 200,000 characters"),
    "digits": ("{{ " + "1" * 100_000 + " }}", "cannot be compiled"),
    "comments": ("{#" * _HALF, "is wrong in line 1"),
    "raw": ("{% raw %}" * 10_000, "is wrong in line 1"),
}
"""What cannot be compiled, and words of the error."""
