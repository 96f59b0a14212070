"""Grammars with many ways to read a token: llama.cpp would follow all of them."""

from __future__ import annotations

import random
import time
from itertools import product
from typing import TYPE_CHECKING, Union

import pytest

from specbranch_cpp._grammar.ambiguity import LENGTH, MOST_WAYS, check_ambiguity
from specbranch_cpp._grammar.ambiguity_bounds import Budget, WayBounds
from specbranch_cpp._grammar.ambiguity_search import Search
from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp._grammar.first_rules import groups_of_first_rules
from specbranch_cpp._grammar.gbnf_rules import rules_of
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp import Engine


def either(*ways: str) -> str:
    return f"({' | '.join(ways)})"


def numbered(prefix: str, count: int) -> list[str]:
    return [f'"{prefix}{i}"' for i in range(count)]


SIX = either(*["[a-z]"] * 6)

AMBIGUOUS = {
    "three ways in a loop": f"root ::= {either(*['[a-z]'] * 3)}*",
    "eight ways in a loop": f'root ::= {either(*["[a-z]"] * 8)}* "Y"',
    "different classes": r'root ::= ([a-z] | [^A-Z] | . | "\x71" | [\u0071-\U00000080])+',
    "literals": 'root ::= ("ab" | "a" [b] | [a] "b" | "a" "b" | [a-b] [b] | "ab" | . "b" | "a" .)*',
    "nine neighbours": "root ::= " + "[a-z]* " * 9,
    "after a literal": 'root ::= "twelve and more" ' + "[a-z]* " * 12,
    "optional neighbours": "root ::= " + "[a-z]? " * 100,
    "a counted repetition": f"root ::= {SIX}{{40}}",
    "in a nested group": f'root ::= ("a long literal" ("another one" ({SIX} {SIX}?)*)?)?',
    "recursion": 'root ::= "x" root | "x" root | "x" root | "y"',
    "recursion in the middle": 'root ::= "(" root ")" | "(" root "]" | "(" root "}" | "y"',
    "beside other alternatives": f"root ::= {either(*numbered('q', 20), *['[a-p]'] * 3)}*",
    "over the end of a rule": f'root ::= "aaaaaaaaaaaaaa" x y\nx ::= "bbbbbbbbbbbb" {SIX}{{4}}\n'
    f"y ::= {SIX}{{4}}",
    "with a character between": f'root ::= x "-" x\nx ::= {SIX}{{4}}',
    "one of two uses of a rule": f'root ::= "1" x "1" | "2" x y\nx ::= "bbbbbbbbbbbb" {SIX}{{4}}\n'
    f"y ::= {SIX}{{4}}",
    "the last of two definitions": f'root ::= x\nx ::= "a"\nx ::= {SIX}*',
}

JSON = r"""root ::= ws value ws
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (member ("," ws member)*)? "}" ws
member ::= string ":" ws value
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws ::= [ \t\n]*"""
LANGUAGE = r"""root ::= (kind name "(" (kind name ("," ws kind name)*)? ")" ws block)*
kind ::= ("int" | "float" | "char") ws
block ::= "{" ws statement* "}" ws
statement ::= kind name "=" ws sum ";" ws | name "=" ws sum ";" ws | name "(" list? ")" ws ";" ws |
    "return" ws sum ";" ws | "while" ws "(" test ")" ws block | comment ws |
    "if" ws "(" test ")" ws block ("else" ws block)?
test ::= sum ("<=" | "<" | "==" | "!=" | ">=" | ">") ws sum
sum ::= term ([-+] ws term)*
term ::= factor ([*/] ws factor)*
factor ::= name | number | "-" ws factor | "(" ws sum ")" ws | name "(" list? ")" ws | text
list ::= sum ("," ws sum)*
name ::= [a-zA-Z_] [a-zA-Z_0-9]* ws
number ::= [0-9]+ ws
text ::= "\"" ([^"\\] | "\\" .)* "\"" ws
comment ::= "//" [^\n]* "\n" | "/*" ([^*] | "*" [^/])* "*/"
ws ::= [ \t\n]*"""

CLEAR = {
    "two ways in a loop": 'root ::= ([a-z] | [a-z])* "Y"',
    "words": 'root ::= ([a-z]+ " ")*',
    "a loop in a loop": "root ::= ([a-z]+)*",
    "eight neighbours": "root ::= " + "[a-z]* " * 8,
    "white space twice": 'root ::= ws ws ("x" ws ws ("," ws ws "x")* ws)*\nws ::= [ \\t\\n]*',
    "arithmetic": 'root ::= (sum "=" sum "\\n")+\nsum ::= one ([-+*/] ws one)*\n'
    'one ::= ([a-z]+ | [0-9]+ | "(" ws sum ")") ws\nws ::= [ \\t\\n]*',
    "nested lists": 'root ::= "[" ws (item (ws "," ws item)*)? ws "]"\nitem ::= root | [0-9]+\n'
    "ws ::= [ \\t\\n]*",
    "lines of a list": r'root ::= ("- " [^\r\n\x0b\x0c\x85\u2028\u2029]+ "\n")+',
    "chess": 'root ::= ([1-9] [0-9]? ". " move " " move "\\n")+\n'
    'move ::= ([NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8] | ([a-h] "x")? [a-h] [1-8] ("=" [NBQR])?'
    ' | "O-O" "-O"?) [+#]?',
    "separated values": 'root ::= (field ("," field)* "\\n")+\n'
    'field ::= [^",\\n]* | "\\"" ([^"] | "\\"\\"")* "\\""',
    "date": 'root ::= [0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ([0-2] [0-9] | "3" [01])',
    "JSON": JSON,
    "a language": LANGUAGE,
    "else of any if": 'root ::= "if " root ("else " root)? | "x;"',
    "values with a common prefix": "root ::= " + " | ".join(numbered("prefix ", 20_000)),
    "such values in a loop": f'root ::= ({either(*numbered("A", 2_000))} ",")*',
    "a token": "root ::= (<[1]> | !<[2]> | [a-z])*",
    "four times six ways": f'root ::= "twelve and more" x\nx ::= {SIX}{{4}}',
    "not used": f'root ::= "x"\nx ::= {SIX}*',
    "no grammar": "no grammar at all ( {5,2",
    "no end": 'root ::= "a" [b',
    "nothing": "",
}


@pytest.mark.parametrize("grammar", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_ones_are_refused(grammar: str) -> None:
    check_cost(grammar)
    with pytest.raises(
        InvalidArgument,
        match=rf"more than {MOST_WAYS} ways to read '.*' in rule '[a-z]+'; .* {LENGTH} characters",
    ):
        check_ambiguity(grammar)


@pytest.mark.parametrize("grammar", CLEAR.values(), ids=CLEAR)
def test_others_pass(grammar: str) -> None:
    check_ambiguity(grammar)


def test_the_message_has_the_text_and_the_rule() -> None:
    with pytest.raises(InvalidArgument, match="ways to read 'qqqqqq' in rule 'q-1'"):
        check_ambiguity('root ::= "q: " q-1\nq-1 ::= ("q" | [q] | "q" | "q" | "q" | "q" | "q")*')


@pytest.mark.parametrize(
    "grammar",
    ['root ::= a\na ::= b a "z" | "y"\nb ::= c\nc ::= "" | "x"', 'root ::= root "x" | "y"'],
)
def test_left_recursion(grammar: str) -> None:
    """llama.cpp does not see the first one, and puts more and more on its stack."""
    with pytest.raises(InvalidArgument, match=r"rule '(a|root)', which can begin with itself"):
        check_ambiguity(grammar)


def test_too_complicated_ones_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"may have more than .* too complicated to tell"):
        check_ambiguity("root ::= " + '"a"? ' * 5_000)


def test_harmless_rules_do_not_hide_others() -> None:
    harmless = "".join(f'r{i} ::= [a-z{i}] r{i + 1} | "{i}" r{i + 1}\n' for i in range(9_000))
    with pytest.raises(InvalidArgument, match=f"more than {MOST_WAYS} ways to read"):
        check_ambiguity(f"root ::= r0\n{harmless}r9000 ::= {SIX}*")


def test_harmless_alternatives_do_not_hide_others() -> None:
    harmless = [f'"{a}{b}" . [{c}]' for a, b, c in product("0123456789", repeat=3)]
    with pytest.raises(InvalidArgument, match=f"more than {MOST_WAYS} ways to read"):
        check_ambiguity(f"root ::= {either(*harmless, *['[a-z]'] * 3)}*")


def test_other_threads_have_turns_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sleep passes Python's lock on, so that a server goes on with other requests."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    check_ambiguity('root ::= ("a" | [b])* "Y"')
    assert not slept
    rules = "".join(f'r{i} ::= [a-z{i}] r{i + 1} | "{i}" r{i + 1}\n' for i in range(1_000))
    check_ambiguity(f'root ::= r0\n{rules}r1000 ::= "x"')
    assert len(slept) > 10


SCHEMAS = {
    "optional properties": {
        "type": "object",
        "properties": {f"property {i}": {"type": ["string", "integer"]} for i in range(100)},
    },
    "objects of many types": {
        "type": "array",
        "items": {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"type": {"const": f"t{i}"}, "a": {}},
                    "required": ["type"],
                }
                for i in range(40)
            ]
        },
    },
    "numbers of a list": {"type": "array", "items": {"enum": list(range(2_000))}},
    "a pattern": {"type": "string", "pattern": r"^[a-z]+([-.][a-z]+)*@[a-z.]+\.[a-z]{2,6}$"},
    "a long text": {"type": "string", "maxLength": 1_500},
    "any value": {},
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_schemas_pass(schema: object) -> None:
    book = RuleBook()
    grammar = book.grammar(book.schema(schema, "schema", strict=False))
    assert isinstance(grammar, str)
    check_ambiguity(grammar)


def test_the_engine_refuses_them(make_fake: Callable[..., Engine]) -> None:
    with make_fake() as engine, pytest.raises(InvalidArgument, match="ways to read 'a"):
        engine.generate([1], grammar=AMBIGUOUS["three ways in a loop"])


_Element = Union[str, int]  # noqa: UP007 (Python 3.10); characters, or the number of a rule
_Position = tuple[int, int, int]  # rule, sequence, element
NAMES = ("root", "one", "two")
TIMES = {"": (1, 0), "*": (0, None), "+": (1, None), "?": (0, 1), "{2}": (2, 0), "{1,3}": (1, 2)}


class Sample:
    """A random grammar, and in how many ways llama.cpp reads a text, counted one by one.

    Args:
        seed: of the random numbers.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._n_steps = 0
        self._rules: list[list[list[_Element]]] = [[] for _ in NAMES]
        lines = [f"{name} ::= {self._sequences(rule, 2)}" for rule, name in enumerate(NAMES)]
        self.text = "\n".join(lines)

    def _sequences(self, rule: int, depth: int) -> str:
        written = []
        for _ in range(self._random.randint(1, 3)):
            sequence: list[_Element] = []
            items = [self._item(sequence, depth) for _ in range(self._random.randint(0, 3))]
            self._rules[rule].append(sequence)
            written.append(" ".join(items) or '""')
        return " | ".join(written)

    def _item(self, sequence: list[_Element], depth: int) -> str:
        once: list[_Element]
        kind = self._random.choice(["text", "class", "name", "group"][: 4 if depth else 3])
        if kind == "text":
            text = self._random.choice(["a", "b", "ab", "aa", "aba"])
            written, once = f'"{text}"', list(text)
        elif kind == "class":
            text = self._random.choice(["a", "ab", "b"])
            written, once = f"[{text}]", [text]
        elif kind == "name":
            rule = self._random.randrange(len(NAMES))
            written, once = NAMES[rule], [rule]
        else:
            rule = self._new_rule()
            written, once = f"({self._sequences(rule, depth - 1)})", [rule]
        times = self._random.choice(["", "", *TIMES])
        least, more = TIMES[times]
        sequence += once * least
        last: list[_Element] = []
        for _ in range(1 if more is None else more):
            rule = self._new_rule()
            self._rules[rule] += [[*once, *([rule] if more is None else last)], []]
            last = [rule]
        sequence += last
        return written + times

    def _new_rule(self) -> int:
        self._rules.append([])
        return len(self._rules) - 1

    def most_ways(self, length: int) -> int | None:
        """The most ways to read a text of at most this length. ``None``: that is much to count."""
        texts = (text for n in range(length + 1) for text in product("ab", repeat=n))
        most = 0
        for text in texts:
            most = max(most, self.ways("".join(text)))
            if most > 300 or self._n_steps > 3_000:
                return None
        return most

    def ways(self, text: str) -> int:
        """The number of ways to read a text from the beginning."""
        return self._ways(((-1, 0, 0),), text)

    def _ways(self, stack: tuple[_Position, ...], text: str) -> int:
        """The ways from a stack whose top is not expanded yet."""
        if not text:
            return 1
        total = 0
        for *below, (rule, sequence, element) in self._expanded(stack):
            elements = self._elements(rule, sequence)
            if text[0] in str(elements[element]):
                rest = [(rule, sequence, element + 1)] * (element + 1 < len(elements))
                total += self._ways((*below, *rest), text[1:])
        return total

    def _expanded(self, stack: tuple[_Position, ...]) -> set[tuple[_Position, ...]]:
        """The stacks with characters on top, as ``llama_grammar_advance_stack`` makes them."""
        self._n_steps += 1
        found, seen, left = set(), set(), [stack]
        while left:
            stack = left.pop()
            if stack in seen or not stack:
                continue
            seen.add(stack)
            *below, (rule, sequence, element) = stack
            elements = self._elements(rule, sequence)
            other = elements[element]
            if isinstance(other, str):
                found.add(stack)
                continue
            rest = [(rule, sequence, element + 1)] * (element + 1 < len(elements))
            for number, one in enumerate(self._rules[other]):
                left.append((*below, *rest, *([(other, number, 0)] * bool(one))))
        return found

    def _elements(self, rule: int, sequence: int) -> list[_Element]:
        return [0] if rule < 0 else self._rules[rule][sequence]


@pytest.mark.parametrize("begin", range(0, 600, 100))
def test_ways_are_counted_as_llama_cpp_walks_them(begin: int) -> None:
    length, n_counted = 4, 0
    for seed in range(begin, begin + 100):
        sample = Sample(seed)
        rules, root = rules_of(sample.text, length)
        assert root is not None
        if groups_of_first_rules(rules)[1] is not None:
            continue
        most = sample.most_ways(length)
        if most is None:
            continue
        n_counted += 1
        bounds = WayBounds(rules, root, length, Budget(10**9))
        bounds.compute()
        start = rules.firsts[root][0]
        text = Search(rules, bounds, most, length, Budget(10**9)).text_from(start)
        assert text is None, f"seed {seed}: {text} in\n{sample.text}"
        if most < 2:
            continue
        assert start in bounds.starts(most - 1), f"seed {seed}:\n{sample.text}"
        text = Search(rules, bounds, most - 1, length, Budget(10**9)).text_from(start)
        assert text is not None, f"seed {seed}: {most} in\n{sample.text}"
        assert sample.ways(text) >= most, f"seed {seed}: {text} in\n{sample.text}"
    assert n_counted > 20
