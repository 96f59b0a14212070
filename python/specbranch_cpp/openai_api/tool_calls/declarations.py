"""``tools`` and ``tool_choice``: which tools the model may call, and which it must call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.tool_calls.custom_tools import CUSTOM, function_of, is_custom
from specbranch_cpp.openai_api.tool_calls.declared import declared

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.keywords import PromptKeywords

__all__ = ["Tools", "tools_of"]

_ALLOWED = "allowed_tools"
# The grammar closes an object with ``properties``, so this object is empty.
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Tools:
    """The functions of a call, and the freedom of the model.

    Attributes:
        given: the caller's tools, for the template; empty: the model may call no function. Custom
            tools are functions here.
        forced: names of the functions of which the model must call one; empty: the model decides.
        many: whether the model may make several calls.
        deprecated: whether the caller used ``functions``.
        custom: names of the custom tools.
    """

    given: tuple[Mapping[str, Any], ...] = ()
    forced: tuple[str, ...] = ()
    many: bool = True
    deprecated: bool = False
    custom: frozenset[str] = frozenset()

    @property
    def functions(self) -> dict[str, Mapping[str, Any]]:
        """The functions by name."""
        return {tool["function"]["name"]: tool["function"] for tool in self.given}

    def schemas(self) -> list[tuple[Any, str, bool]]:
        """The schemas of the forced functions' parameters: schema, name in messages, strict."""
        functions = self.functions
        return [
            (
                functions[name].get("parameters") or _NO_PARAMETERS,
                f"the schema of {name!r}",
                bool(functions[name].get("strict")),
            )
            for name in self.forced
        ]


def tools_of(given: PromptKeywords) -> Tools:
    """The tools of a chat, from its keywords.

    A forced choice gives one call, unless ``parallel_tool_calls`` is True. A free choice gives any
    number of calls, unless it is False.

    Raises:
        InvalidArgument: a tool is neither a function nor a custom tool, or ``tool_choice`` names an
            unknown tool.
    """
    try:
        return _tools_of(given)
    except RecursionError:  # of an error that shows a tool or the choice
        raise InvalidArgument("tools or tool_choice is nested too deeply") from None


def _tools_of(given: PromptKeywords) -> Tools:
    tools, choice = given.tools, given.tool_choice
    deprecated = given.functions is not None
    if deprecated:
        if tools is not None:
            raise InvalidArgument(
                "tools and functions are given; give only tools, because functions is its old name"
            )
        tools = [
            {"type": "function", "function": one} for one in _list("functions", given.functions)
        ]
    if given.function_call is not None:
        if choice is not None:
            raise InvalidArgument("tool_choice and function_call are given; give only one of them")
        choice = given.function_call
        if isinstance(choice, Mapping):
            choice = {"type": "function", "function": choice}
    parallel = given.parallel_tool_calls
    if parallel is not None:
        checked.flag("parallel_tool_calls", parallel)
    listed = _list("tools", tools)
    declared = tuple(_tool(f"tools[{i}]", one) for i, one in enumerate(listed))
    names = [tool["function"]["name"] for tool in declared]
    custom = {name for name, one in zip(names, listed, strict=True) if is_custom(one)}
    if len(set(names)) < len(names):
        raise InvalidArgument(f"tools has two functions with the same name: {', '.join(names)}")
    if isinstance(choice, Mapping) and choice.get("type") == _ALLOWED:
        choice, allowed = _allowed(choice, names, custom)
        declared = tuple(tool for tool in declared if tool["function"]["name"] in allowed)
        names = [tool["function"]["name"] for tool in declared]
    forced = _forced(choice, names, custom)
    if choice == "none" or not declared:
        return Tools(deprecated=deprecated)
    many = parallel is True if forced else parallel is not False
    return Tools(declared, forced, many, deprecated, frozenset(custom.intersection(names)))


def _forced(choice: Any, names: Sequence[str], custom: Collection[str]) -> tuple[str, ...]:
    if choice in (None, "none", "auto"):
        return ()
    if choice == "required":
        if not names:
            raise InvalidArgument("tool_choice is 'required', but no tools are given")
        return tuple(names)
    kind = CUSTOM if is_custom(choice) else "function"
    named = choice.get(kind) if isinstance(choice, Mapping) else None
    name = named.get("name") if isinstance(named, Mapping) else None
    if not isinstance(name, str):
        raise InvalidArgument(
            f"tool_choice is {choice!r}; it must be 'none', 'auto', 'required', "
            "{'type': 'function', 'function': {'name': ...}}, "
            "{'type': 'custom', 'custom': {'name': ...}} or a choice of allowed_tools"
        )
    if name not in names:
        raise InvalidArgument(_unknown(name, names))
    if (name in custom) != (kind == CUSTOM):
        raise InvalidArgument(
            f"tool_choice names {name!r} with the type {kind!r}, which is not the type of this tool"
        )
    return (name,)


def _allowed(
    choice: Mapping[str, Any], names: Sequence[str], custom: Collection[str]
) -> tuple[str, set[str]]:
    """The mode of a choice among some tools, and the names of these tools.

    ``/v1/responses`` has the fields of ``allowed_tools`` beside the type. Tools of other types, and
    custom tools that the server leaves out, are passed over: the model does not get them.
    """
    given = choice.get(_ALLOWED, choice)
    if not isinstance(given, Mapping):
        raise InvalidArgument(f"tool_choice.{_ALLOWED} is {given!r}; it must be a dictionary")
    mode, tools = given.get("mode"), given.get("tools")
    if mode not in ("auto", "required"):
        raise InvalidArgument(f"tool_choice.mode is {mode!r}; it must be 'auto' or 'required'")
    if not isinstance(tools, (list, tuple)):
        raise InvalidArgument(f"tool_choice.tools is {tools!r}; it must be a list of tools")
    known, allowed = set(names), set[str]()
    for tool in tools:
        kind = tool.get("type", "function") if isinstance(tool, Mapping) else "function"
        if kind not in ("function", CUSTOM):
            continue
        named = tool.get(kind, tool) if isinstance(tool, Mapping) else None
        name = named.get("name") if isinstance(named, Mapping) else None
        if not isinstance(name, str):
            raise InvalidArgument(
                f"tool_choice.tools has {tool!r}; it must have the type 'function' or 'custom' and "
                "a name"
            )
        if kind == CUSTOM and name not in custom:
            continue
        if name not in known:
            raise InvalidArgument(_unknown(name, names))
        allowed.add(name)
    if mode == "required" and not allowed:
        raise InvalidArgument("tool_choice.mode is 'required', but no tools are allowed")
    return str(mode), allowed


def _unknown(name: str, names: Sequence[str]) -> str:
    return f"tool_choice names {name!r}; the tools are {', '.join(names) or 'none'}"


def _list(name: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidArgument(f"{name} is {value!r}; it must be a sequence of dictionaries")
    return list(value)


def _tool(name: str, tool: Any) -> Mapping[str, Any]:
    if is_custom(tool):
        return function_of(name, tool)
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        raise InvalidArgument(f"{name} is {tool!r}; it must be of type 'function' or 'custom'")
    function, _ = declared(name, tool, "function")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InvalidArgument(
            f"{name}['function']['parameters'] is {parameters!r}; it must be a JSON schema"
        )
    return {**tool, "type": "function"}
