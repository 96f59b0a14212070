"""Grammars that llama.cpp would never come back from, or not alive."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from specbranch_cpp import demo
from specbranch_cpp._grammar.cost import (
    MOST_ELEMENTS,
    MOST_EMPTY,
    MOST_PATHS,
    MOST_SYMBOLS,
    check_cost,
)
from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.log_lines import indented
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp import Engine


def rules(n: int, body: str, last: str) -> str:
    """``a0`` to ``an``, each of which uses the next: ``%`` in the body."""
    chain = "".join(f"a{i} ::= {body.replace('%', f'a{i + 1}')}\n" for i in range(n))
    return f"root ::= a0\n{chain}a{n} ::= {last}"


TOO_MANY_PATHS = {
    "optional in optional": 'root ::= (("a"?){0,40}){0,40}',
    "after a character": 'root ::= "x" (("a"?){0,40}){0,40} "x"',
    "within a repetition": 'root ::= ("x" | ("a"? "b"?){9} | ""){2,40}',
    "twice each, empty": rules(40, "% %", '"x"?'),
    "twice each, one way": rules(40, "% | %", '"x"'),
    "twice each, or empty": rules(40, '% % | ""', '"x"'),
    "a long chain": rules(MOST_PATHS, "%", '"x"'),
    "a chain of groups": "root ::= " + '("x"? ' * MOST_PATHS + ")" * MOST_PATHS,
    "alternatives": "root ::= " + " | ".join(['"x"'] * (MOST_PATHS + 1)),
    "in a rule that is not used": 'root ::= "x"\n' + rules(40, "% | %", '"x"')[13:],
}

GOOD = [
    'root ::= "a"{2} "b"{2,} "c"{2,5} "d"{,3} [ef]* . !<[1]>',
    'root ::= "a"{1,100000}',
    'root ::= ([a]? "b"? "c"?)* ("d" | "")+ root-2 # (((\nroot-2 ::= (\n"(" | ")"\n| [(|)"])',
    'root ::= "a" root "b" | ""',
    'root ::= list\nlist ::= "[" (value ("," value)*)? "]"\nvalue ::= list | [0-9]{1,15}',
    "root ::= " + " | ".join(f'"{i}"' for i in range(10_000)),
    'root ::= "a"? ' + '"a"? ' * 5_000,
    "root ::= " + '("a"?){0,15} [b] ' * 20,
    rules(10_000, "%", '"x"'),
    "root ::=",
    "no grammar at all ( {5,2",
    '"',
    "",
]


@pytest.mark.parametrize("grammar", TOO_MANY_PATHS.values(), ids=TOO_MANY_PATHS)
def test_too_many_paths(grammar: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^grammar has .* at most {MOST_PATHS}"):
        check_cost(grammar)


@pytest.mark.parametrize("grammar", GOOD)
def test_good_and_odd_ones_pass(grammar: str) -> None:
    check_cost(grammar)


@pytest.mark.parametrize(
    "grammar", ['root ::= ("a"?){0,16}', 'root ::= "x" ("a"? "b"?)? ("c"* | "d"*){4}']
)
def test_too_often_empty(grammar: str) -> None:
    with pytest.raises(
        InvalidArgument, match=rf"empty in .* ways; it must be at most {MOST_EMPTY}"
    ):
        check_cost(grammar)


@pytest.mark.parametrize("times", ["{5,2}", "{ 1 , 0 }"])
def test_reversed_repetitions(times: str) -> None:
    with pytest.raises(InvalidArgument, match="the first number must be at most the second"):
        check_cost(f'root ::= "a"{times}')


def test_too_many_elements() -> None:
    with pytest.raises(InvalidArgument, match=rf"1001500 elements .* at most {MOST_ELEMENTS}"):
        check_cost("root ::= " + '"x"{0,2000} "yy" ' * 500)


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "x"\n' + "".join(f'r{i} ::= "x"\n' for i in range(MOST_SYMBOLS)),
        "root ::= " + '"x" ' * MOST_SYMBOLS,
        "root ::= " + "[x] " * MOST_SYMBOLS,
        "root ::= " + "(" * MOST_SYMBOLS,
    ],
)
def test_too_many_symbols(grammar: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"more than {MOST_SYMBOLS} names, literals"):
        check_cost(grammar)


@pytest.mark.parametrize("read", [check_cost, indented, RuleBook().include, LarkBook().include])
@pytest.mark.parametrize("quotes", ['""', "[]"])
def test_the_memory_for_a_long_part(read: Callable[[str], object], quotes: str) -> None:
    """It was two hundred bytes for each of its characters."""
    grammar = f"root ::= {quotes[0]}{'x' * 900_000}{quotes[1]}"
    tracemalloc.start()
    try:
        read(grammar)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 * len(grammar)


def test_the_engine_refuses_them(make_fake: Callable[..., Engine]) -> None:
    with make_fake() as engine, pytest.raises(InvalidArgument, match="grammar repeats"):
        engine.generate([1], grammar='root ::= "a"{5,2}')


CODE = """
import sys
from specbranch_cpp._grammar import library
if sys.argv[1] == "gbnf":
    library._problem = lambda: "switched off"
from specbranch_cpp import Engine, InvalidArgument, demo
engine = Engine(*demo.pair(), n_ctx=128, measure_costs=False)
schema = {"type": "string", "pattern": "^((a?){0,40}){0,40}$"}
message = [{"role": "user", "content": "?"}]
try:
    engine.create_chat_completion(
        message, response_format={"type": "json_object", "schema": schema}, max_tokens=8
    )
except InvalidArgument as error:
    print(error)
print(engine.complete("import", max_tokens=2).finish_reason)
engine.close()
"""


@pytest.mark.parametrize("kind", ["gbnf", "lark"])
def test_a_pattern_cannot_hang_the_engine(kind: str) -> None:
    assert demo.pair()
    done = subprocess.run(
        [sys.executable, "-c", CODE, kind], capture_output=True, text=True, timeout=60, check=True
    )
    *told, reason = done.stdout.splitlines()
    # llguidance reads such a pattern without trouble.
    assert [line.startswith("grammar has") for line in told] == ([True] if kind == "gbnf" else [])
    assert reason == "length"
