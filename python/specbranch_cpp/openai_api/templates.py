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

__all__ = ["CHATML", "EFFORT", "ChatTemplate"]

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template for models without a template, as in llama-server."""

EFFORT = "reasoning_effort"
"""The variable with which clients say how much the model is to think."""

LARGEST = 1 << 17
"""Characters of the largest template. The largest of known models have some tens of thousands."""

_LONGEST_DATE = 200
_LONGEST_ERROR = 2000
_SHORTEST = {"role": "user", "content": "?"}


class _Generation(ext.Extension):
    """Hugging Face's ``{% generation %}``, which marks text for training: outputs its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Refused(Exception):  # noqa: N818
    """The error that a template raises with ``raise_exception``."""


def _raise_exception(message: Any) -> None:
    raise _Refused(RUNNING.get().text(message))


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
        reads_effort: whether the template reads how much the model is to think.
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
            names = {one.name for one in tree.find_all(nodes.Name)}
            self.reads_tools, self.reads_effort = "tools" in names, EFFORT in names
            self._template = _ENVIRONMENT.from_string(prepared(tree, _ENVIRONMENT))
        except jinja2.TemplateSyntaxError as error:
            raise InvalidArgument(
                f"the chat template is wrong in line {error.lineno}: {_told(error)}"
            ) from None
        except (RecursionError, MemoryError, SyntaxError):  # also of the compiler of Python
            raise InvalidArgument("the chat template is nested too deeply") from None
        except LimitError as error:
            raise InvalidArgument(f"the chat template is too large: {error}") from None
        except Exception as error:  # noqa: BLE001 (such as a number with too many digits)
            raise InvalidArgument(f"the chat template cannot be compiled: {_told(error)}") from None
        self._hopeless = ""
        self._known: dict[str, Any] = {
            "documents": None,
            "add_generation_prompt": True,
            "bos_token": bos_token,
            "eos_token": eos_token,
        }
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
        everything = {**self._known, **(variables or {}), "messages": messages, "tools": tools}
        running = None
        try:
            running = RUNNING.set(Meter(everything))
            text = self._template.render(everything)
            text.encode()
        except _Refused as error:
            told = _told(error)
            raise InvalidArgument(f"the chat template refuses the messages: {told}") from None
        except UnicodeEncodeError:
            raise InvalidArgument("the chat template writes half of a surrogate pair") from None
        except (LimitError, RecursionError, MemoryError) as error:
            reason = str(error) if isinstance(error, LimitError) else "it is nested too deeply"
            words = f"the chat template computes too much in line {_line(error)}: {reason}"
            if light(everything) and self._never_ends():  # it does so for every client
                self._hopeless = words
            raise TemplateLimit(words) from None
        except Exception as error:
            raise InvalidArgument(
                f"the chat template fails in line {_line(error)}: {_told(error)}"
            ) from error
        finally:
            if running is not None:
                RUNNING.reset(running)
        return text

    def _never_ends(self) -> bool:
        """Whether the template computes too much for the shortest chat, too."""
        running = RUNNING.set(Meter())
        try:
            self._template.render({**self._known, "messages": [_SHORTEST], "tools": None})
        except (LimitError, RecursionError, MemoryError):
            return True
        except Exception:  # noqa: BLE001 (of the template)
            return False
        finally:
            RUNNING.reset(running)
        return False

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


def _told(error: Exception) -> str:
    """The words of an error. A template may make them long, and may put anything into them."""
    try:
        words = error.message if isinstance(error, jinja2.TemplateError) else str(error)
    except Exception:  # noqa: BLE001 (such as a key without a text)
        words = None
    words = (words or type(error).__name__).encode(errors="replace").decode()
    return words if len(words) <= _LONGEST_ERROR else f"{words[:_LONGEST_ERROR]} ..."


def _line(error: BaseException) -> int | str:
    """The line of the template in which an error occurred."""
    line: int | str = "?"
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno  # Jinja rewrites the traceback to lines of the template
        trace = trace.tb_next
    return line
