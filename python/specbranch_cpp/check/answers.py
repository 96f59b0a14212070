"""How the target writes tool calls and thoughts, without loading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._support.gguf_header import HeaderError, read_header
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

    from specbranch_cpp.check.report import Report

__all__ = ["find_answers"]

_TEMPLATE = "tokenizer.chat_template"


def find_answers(report: Report, target: Path) -> None:
    """Adds the formats that the chat template of a file mentions.

    A note says if the format of tool calls is not known.
    """
    from specbranch_cpp.openai_api.answers.style import style_of_template
    from specbranch_cpp.openai_api.templates import ChatTemplate
    from specbranch_cpp.openai_api.tool_calls.choice import TOKENS

    try:
        header = read_header(target, TOKENS)
    except (HeaderError, OSError):  # llama.cpp could read the file
        return
    source = header.values.get(f"{_TEMPLATE}.tool_use") or header.values.get(_TEMPLATE)
    if not isinstance(source, str):
        return
    try:
        template = ChatTemplate(source)
    except InvalidArgument as error:
        report.notes.append(f"chats are not possible: {error}")
        return
    style = style_of_template(template, header.found.__contains__)
    report.tool_format, report.reasoning = style.tool_format, style.reasoning
    if not style.is_known:
        report.notes.append(
            "the chat template's format of tool calls is not known; chats with tools describe a "
            "format in the prompt"
        )
