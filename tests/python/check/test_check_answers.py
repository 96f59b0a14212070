"""What `check` says of tool calls and thoughts, from the file alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.call_formats import FAMILIES
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import check
from specbranch_cpp._support.gguf_header import read_header

if TYPE_CHECKING:
    from pathlib import Path


def examined(folder: Path, template: str, tokens: tuple[str, ...] = ()) -> check.Report:
    path = write_tiny_gguf(
        folder / "target.gguf",
        metadata={"tokenizer.chat_template": template},
        control_tokens=tokens,
    )
    return check.examine(path)


@pytest.mark.parametrize(("name", "format_name"), [("hermes", "hermes"), ("kimi k2", "kimi-k2")])
def test_the_format_of_calls(tmp_path: Path, name: str, format_name: str) -> None:
    report = examined(tmp_path, FAMILIES[name].template + "{# </think> #}")
    assert (report.tool_format, report.reasoning) == (format_name, "<think>")
    assert not any("tool calls" in note for note in report.notes)


def test_a_control_token_decides(tmp_path: Path) -> None:
    template = "{{ tools }}{{ messages }}"
    assert examined(tmp_path, template, ("<|tool_call_start|>",)).tool_format == "lfm2"
    messages = "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}{% endfor %}"
    report = examined(tmp_path, messages, ("<|channel|>",))
    assert (report.tool_format, report.reasoning) == ("gpt-oss", "analysis")


def test_a_format_that_is_not_known_is_a_note(tmp_path: Path) -> None:
    report = examined(tmp_path, "{{ tools }}{{ messages }}")
    assert report.tool_format is None
    (note,) = [note for note in report.notes if "tool calls is not known" in note]
    assert "describe a format" in note


def test_a_template_that_is_wrong_is_a_note(tmp_path: Path) -> None:
    report = examined(tmp_path, "{% for %}")
    assert any("the chat template is wrong in line 1" in note for note in report.notes)
    assert report.fits


def test_a_file_without_a_template(tmp_path: Path) -> None:
    report = check.examine(write_tiny_gguf(tmp_path / "target.gguf"))
    assert (report.tool_format, report.reasoning) == (None, None)
    assert not any("tool" in note or "chat" in note for note in report.notes)


def test_a_header_finds_whole_tokens_only(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "target.gguf", control_tokens=["<|channel|>"])
    wanted = ("<|channel|>", "<|channel|", "channel", "return", "<|call|>")
    assert read_header(path, wanted).found == {"<|channel|>", "return"}
    assert read_header(path).found == frozenset()
