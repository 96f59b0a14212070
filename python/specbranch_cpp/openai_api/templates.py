"""Chat templates: Jinja with the extensions of Hugging Face's models, in a sandbox."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jinja2

# Not `jinja2.nodes`: an interrupted import leaves the package without the names of its modules.
from jinja2 import ext, nodes

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.template_abilities import Abilities
from specbranch_cpp.openai_api.template_limits import (
    RUNNING,
    LimitError,
    Meter,
    TemplateLimit,
    light,
)
from specbranch_cpp.openai_api.template_sandbox import Sandbox, prepared

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


LARGEST = 1 << 17
"""Characters of the largest template. The largest of known models have some tens of thousands."""

_LONGEST_DATE = 200


class _Generation(ext.Extension):
    """Hugging Face's ``{% generation %}``, which marks text for training: outputs its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Refused(Exception):  # noqa: N818
    """The error that a template raises with ``raise_exception``."""


def _raise_exception(message: str) -> None:
    raise _Refused(message)


def _strftime_now(form: str) -> str:
    if len(form) > _LONGEST_DATE:
        raise LimitError(f"a form of dates has more than {_LONGEST_DATE} characters")
    return datetime.now().astimezone().strftime(form)


def _environment() -> Sandbox:
    environment = Sandbox([ext.loopcontrols, _Generation])
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
        InvalidArgument: the source is not a valid template, is nested too deeply, or is too long.
    """

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        if len(source) > LARGEST:
            raise InvalidArgument(
                f"the chat template has {len(source):,} characters; it must have at most "
                f"{LARGEST:,}"
            )
        try:
            tree = _ENVIRONMENT.parse(source)
            self.reads_tools = any(one.name == "tools" for one in tree.find_all(nodes.Name))
            self._template = _ENVIRONMENT.from_string(prepared(tree, _ENVIRONMENT))
        except jinja2.TemplateSyntaxError as error:
            raise InvalidArgument(
                f"the chat template is wrong in line {error.lineno}: {error.message}"
            ) from None
        except (RecursionError, MemoryError, SyntaxError):  # also of the compiler of Python
            raise InvalidArgument("the chat template is nested too deeply") from None
        except LimitError as error:
            raise InvalidArgument(f"the chat template is too large: {error}") from None
        except Exception as error:  # noqa: BLE001 (such as a number with too many digits)
            raise InvalidArgument(f"the chat template cannot be compiled: {error}") from None
        self._hopeless = ""
        self._names = {"bos_token": bos_token, "eos_token": eos_token}
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
            InvalidArgument: the template refuses the messages, or computes too much
                (`template_limits`). The error gives the line and the reason.
        """
        if self._hopeless:
            raise TemplateLimit(self._hopeless)
        known = {"documents": None, "add_generation_prompt": True, **self._names}
        given = {"messages": messages, "tools": tools}
        everything = {**known, **(variables or {}), **given}
        running = None
        try:
            running = RUNNING.set(Meter(everything))
            return self._template.render(everything)
        except _Refused as error:
            raise InvalidArgument(f"the chat template refuses the messages: {error}") from None
        except (LimitError, RecursionError, MemoryError) as error:
            reason = str(error) if isinstance(error, LimitError) else "it is nested too deeply"
            words = f"the chat template computes too much in line {_line(error)}: {reason}"
            if light(everything):  # it would do so for every client
                self._hopeless = words
            raise TemplateLimit(words) from None
        except Exception as error:
            raise InvalidArgument(
                f"the chat template fails in line {_line(error)}: {error}"
            ) from error
        finally:
            if running is not None:
                RUNNING.reset(running)

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
