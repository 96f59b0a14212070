"""Jinja's sandbox in which everything that a template computes is counted and limited.

Jinja's own sandbox keeps a template from reaching objects outside; it does not limit loops and
sizes. Here `prepared` puts steps into the loops of a template, and every operator, filter, test and
call asks the `Meter` of the rendering. Nothing is computed while a template is compiled, since that
would have no meter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import jinja2

# Not `jinja2.nodes`: an interrupted import leaves the package without the names of its modules.
from jinja2 import nodes, sandbox
from jinja2.filters import do_join, make_attrgetter
from jinja2.runtime import Undefined
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from specbranch_cpp.openai_api import template_guards as guards
from specbranch_cpp.openai_api.template_limits import RUNNING, LimitError

if TYPE_CHECKING:
    from jinja2.nodes import EvalContext
    from jinja2.runtime import Context

__all__ = ["PARTS", "Sandbox", "prepared"]

PARTS = 10_000
"""Largest number of expressions and statements of a template. Known models have some thousands."""

_OPERATORS = frozenset(["+", "-", "*", "/", "//", "**", "%"])
_RANGE_BITS = 60
_DATA = (str, bytes, list, tuple, dict, set, frozenset, int, float, complex, range, slice, type)


class Sandbox(sandbox.ImmutableSandboxedEnvironment):
    """The environment of chat templates. A rendering must have a meter in `RUNNING`."""

    intercepted_binops = _OPERATORS

    def __init__(self, extensions: Sequence[Any]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
            extensions=extensions,
            optimized=False,
            finalize=_finalized,
        )
        del self.globals["lipsum"]  # makes texts of any length
        self.globals |= {"range": _range, "dict": _dict, "namespace": _Namespace}
        self.filters["join"] = _join
        self.filters["tojson"] = _tojson
        self.filters["sum"] = _sum
        self.filters = {name: _filter(name, each) for name, each in self.filters.items()}
        self.filters |= {"_step": _step, "_held": _held, "_concat": _concat}
        self.tests = {name: _test(cast("Any", each)) for name, each in self.tests.items()}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = RUNNING.get()
        meter.step()
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(count, int) and isinstance(text, (str, bytes, list, tuple)):
                    meter.room(meter.weigh(text) * max(count, 1))
        elif operator == "%" and isinstance(left, (str, bytes)):
            guards.check_percent(meter, left, right)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            guards.check_power(left, right)
        return meter.held(super().call_binop(context, operator, left, right))

    def getattr(self, obj: Any, attribute: str) -> Any:
        RUNNING.get().step()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        RUNNING.get().step()
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        meter = RUNNING.get()
        meter.enter()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, _DATA):
            if __obj.__name__ == "join":
                args = tuple(guards.collected(one) for one in args)
            guards.check_method(meter, owner, __obj.__name__, args, kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        meter.leave()
        return meter.held(result)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """``str.format`` with limits. The template gets it in place of the method."""
        if super().wrap_str_format(value) is None:
            return None
        text: str = value.__self__
        formatter = _Formatter(self)
        if value.__name__ == "format_map":
            return lambda mapping: formatter.vformat(text, (), mapping)
        return lambda *args, **kwargs: formatter.vformat(text, args, kwargs)


class _Namespace(Namespace):
    """Jinja's own, with a limit where it becomes text.

    Its attributes change after it became a part of other values, so only then its weight is known.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(_dict(*args, **kwargs))

    def __repr__(self) -> str:
        RUNNING.get().weigh(self)
        return super().__repr__()


class _Formatter(sandbox.SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        meter = RUNNING.get()
        guards.check_widths(re.findall(r"\d+", format_spec))
        meter.weigh(value)
        return meter.text(super().format_field(value, format_spec))


class _Steps(NodeTransformer):
    """Puts filters of the sandbox into a template, where Jinja calls nothing else."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        step = _filtered("_step", nodes.Const(None, lineno=node.lineno), node)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        if node.test is not None:
            node.test = _filtered("_step", node.test, node)
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:  # noqa: N802
        # Text outside of tags passes `_finalized` as an expression does.
        return nodes.Const(node.data, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return _filtered("_concat", parts, node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered("_step", node, node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        is_copy = isinstance(node.arg, nodes.Slice)
        return _filtered("_held", node, node) if is_copy else node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        constant = all(isinstance(one, nodes.Const) for one in node.items)
        return node if constant else _filtered("_held", node, node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        # The other contexts are names that a loop or an assignment gives values to.
        return _filtered("_held", node, node) if node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered("_held", node, node)


def prepared(tree: nodes.Template, environment: Sandbox) -> nodes.Template:
    """The template with steps in it.

    Raises:
        LimitError: it has so many parts that compiling it takes long.
    """
    parts = [tree]
    n_parts = 0
    while parts:
        parts += parts.pop().iter_child_nodes()  # type: ignore[arg-type]
        n_parts += 1
        if n_parts > PARTS:
            raise LimitError(f"it has more than {PARTS:,} parts")
    changed: nodes.Template = _Steps().visit(tree)
    changed.set_environment(environment)
    return changed


def _filtered(name: str, value: Any, place: nodes.Node) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=place.lineno)


# What needs the context is not computed while a template is compiled.
@jinja2.pass_context
def _finalized(_context: Context, value: Any) -> str:
    return RUNNING.get().text(value)


@jinja2.pass_context
def _step(_context: Context, value: Any) -> Any:
    RUNNING.get().step()
    return value


@jinja2.pass_context
def _held(_context: Context, value: Any) -> Any:
    return RUNNING.get().held(value)


@jinja2.pass_context
def _concat(_context: Context, parts: list[Any]) -> str:
    meter = RUNNING.get()
    meter.room(sum(meter.weigh(part) for part in parts))
    return str(meter.held("".join(map(str, parts))))


def _range(*args: Any) -> range:
    """Jinja's own, without numbers so large that many of them have the same hash."""
    if any(isinstance(one, int) and one.bit_length() > _RANGE_BITS for one in args):
        raise LimitError(f"a number of a range has more than {_RANGE_BITS} bits")
    return sandbox.safe_range(*args)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    """Python's own, with a step for each item, because many keys may have the same hash."""
    if args and isinstance(args[0], Iterable) and not isinstance(args[0], (Mapping, Undefined)):
        args = (_stepped(args[0]), *args[1:])
    return dict(*args, **kwargs)


def _stepped(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        RUNNING.get().step()
        yield value


def _filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts as a step, and whose result is limited."""
    guard = guards.FILTERS.get(name)
    first = _first_argument(function)

    @jinja2.pass_context
    @wraps(function)
    def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        meter = RUNNING.get()
        meter.step()
        if guard is not None:
            value = guard(guards.FilterCall(meter, value, args, kwargs))
        result = function(*first(context), value, *args, **kwargs)
        return result if result is value else meter.held(result)

    return metered


def _test(function: Callable[..., Any]) -> Callable[..., Any]:
    first = _first_argument(function)

    @jinja2.pass_context
    @wraps(function)
    def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        RUNNING.get().step()
        return function(*first(context), value, *args, **kwargs)

    return metered


def _first_argument(function: Callable[..., Any]) -> Callable[[Context], tuple[Any, ...]]:
    """What a filter wants before the value, said by a decorator such as ``pass_context``."""
    wanted = getattr(getattr(function, "jinja_pass_arg", None), "name", None)
    given: dict[str | None, Callable[[Context], tuple[Any, ...]]] = {
        None: lambda _: (),
        "context": lambda context: (context,),
        "eval_context": lambda context: (context.eval_ctx,),
        "environment": lambda context: (context.environment,),
    }
    return given[wanted]


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML."""
    meter = RUNNING.get()
    meter.weigh(value)
    guards.check_widths([indent] if isinstance(indent, int) else [])
    for text in (indent, *(separators or ())):
        if isinstance(text, str):
            guards.check_widths([len(text)])
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    if indent is None and separators is None:
        return encoder.encode(value)
    pieces, size = [], 0
    for piece in encoder.iterencode(value):
        size += len(piece)
        meter.room(size)
        pieces.append(piece)
    return "".join(pieces)


@jinja2.pass_eval_context
def _join(
    eval_ctx: EvalContext, value: Any, d: str = "", attribute: str | int | None = None
) -> str:
    """Jinja's own. A part may be light although its attribute is not, such as ``loop``."""
    values = guards.collected(value)
    if attribute is not None:
        values = [*map(make_attrgetter(eval_ctx.environment, attribute), values)]
    if isinstance(values, Iterable):
        guards.check_join(RUNNING.get(), values, str(d))
    joined: str = do_join(eval_ctx, values, d)
    return joined


@jinja2.pass_environment
def _sum(
    environment: Sandbox, values: Any, attribute: str | int | None = None, start: Any = 0
) -> Any:
    """Each sum is a new value, which a sum of lists makes large."""
    if attribute is not None:
        values = map(make_attrgetter(environment, attribute), values)
    meter = RUNNING.get()
    total = start
    for value in values:
        total = meter.held(total + value)
    return total
