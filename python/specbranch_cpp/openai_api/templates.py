"""Chat templates: Jinja with the extensions of Hugging Face's models, in a sandbox."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.template_abilities import Abilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2.parser import Parser

__all__ = ["CHATML", "ChatTemplate"]

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template for models without a template, as in llama-server."""


class _Generation(jinja2.ext.Extension):
    """Hugging Face's ``{% generation %}``, which marks text for training: outputs its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Refused(Exception):  # noqa: N818
    """The error that a template raises with ``raise_exception``."""


def _raise_exception(message: str) -> None:
    raise _Refused(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        extensions=[jinja2.ext.loopcontrols, _Generation],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


_ENVIRONMENT = _environment()


class ChatTemplate:
    """A compiled template.

    Args:
        source: the Jinja source.
        bos_token: the name of the BOS token.
        eos_token: the name of the EOS token.

    Attributes:
        source: the Jinja source.
        reads_tools: whether the template supports tools.
        abilities: which messages the template shows.

    Raises:
        InvalidArgument: the source is not a valid template.
    """

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        try:
            tree = _ENVIRONMENT.parse(source)
            self._template = _ENVIRONMENT.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise InvalidArgument(
                f"the chat template is wrong in line {error.lineno}: {error.message}"
            ) from None
        self._names = {"bos_token": bos_token, "eos_token": eos_token}
        self.reads_tools = any(name.name == "tools" for name in tree.find_all(jinja2.nodes.Name))
        self.abilities = Abilities(self)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of the messages, and of the beginning of the answer.

        Args:
            messages: see `messages.plain_messages`.
            tools: functions that the model may call.
            variables: further variables of the template, such as ``enable_thinking``.
                ``add_generation_prompt=False`` leaves out the beginning of the answer.

        Raises:
            InvalidArgument: the template refuses the messages. The error gives the line and the
                reason.
        """
        known = {"documents": None, "add_generation_prompt": True, **self._names}
        given = {"messages": messages, "tools": tools}
        try:
            return self._template.render({**known, **(variables or {}), **given})
        except _Refused as error:
            raise InvalidArgument(f"the chat template refuses the messages: {error}") from None
        except Exception as error:
            raise InvalidArgument(
                f"the chat template fails in line {_line(error)}: {error}"
            ) from error

    @cached_property
    def wants_text_arguments(self) -> bool:
        """Whether the arguments of a call must be JSON text, because no filter converts them."""
        arguments: Any
        for arguments in ({"key": "value"}, '{"key": "value"}'):
            call = {"name": "probe", "arguments": arguments}
            calls = [{"id": "call00001", "type": "function", "function": call}]
            messages: list[dict[str, Any]] = [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": "", "tool_calls": calls},
            ]
            try:
                text = self.render(messages, variables={"add_generation_prompt": False})
            except InvalidArgument:
                continue
            if re.search(r'"key"\s*:\s*"value"', text):
                return isinstance(arguments, str)
        return False


def _line(error: BaseException) -> int | str:
    """The line of the template in which an error occurred."""
    line: int | str = "?"
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno  # Jinja rewrites the traceback to lines of the template
        trace = trace.tb_next
    return line
