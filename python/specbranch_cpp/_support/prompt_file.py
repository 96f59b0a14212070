"""Reads files with one JSON object per line, in which one field is a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._support import checked
from specbranch_cpp._support.files import from_json, read_file
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path


def read_prompts(path: Path, field: str = "prompt") -> list[str]:
    """The prompts of a file with one JSON object per line.

    Raises:
        InvalidArgument: the file cannot be read, a line is not such an object, or a prompt is not
            valid Unicode.
    """
    try:
        # A text may have other ends of lines inside, such as U+2028.
        # Editors on Windows begin a file with a mark that is no part of its first line.
        lines = read_file(path).decode().removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path} is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from None
    prompts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompt = from_json(line)[field]
        except (ValueError, KeyError, TypeError):
            prompt = None
        if not isinstance(prompt, str) or not prompt:
            raise InvalidArgument(
                f"{path}, line {number}: this is not a JSON object with a text {field!r}"
            )
        checked.text(f"{path}, line {number}: the text", prompt)
        prompts.append(prompt)
    if not prompts:
        raise InvalidArgument(f"{path} has no prompts")
    return prompts
