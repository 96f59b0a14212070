"""The four sets by name."""

from __future__ import annotations

from pathlib import Path

from benchmarks.text_prompts import json_edit, rename

__all__ = ["SETS", "chatml", "prompts"]

SETS = ("rename", "json", "summary", "prose")
"""Rename a symbol in a file, change one value of a JSON document, summarize, write freely: from
answers that repeat nearly everything to answers that repeat nothing."""

HERE = Path(__file__).parent


def prompts(name: str) -> list[str]:
    """The ten prompts of a set.

    Raises:
        KeyError: there is no set with this name.
    """
    return {"rename": rename.prompts, "json": json_edit.prompts, "summary": _summary,
            "prose": _prose}[name]()  # fmt: skip


def chatml(prompt: str) -> str:
    """The prompt as a turn of a user in ChatML, for models such as Qwen2.5."""
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def _summary() -> list[str]:
    passages = (HERE / "passages.txt").read_text(encoding="utf-8").split("\n===\n")
    return [f"Summarize this text in four sentences.\n\n{passage.strip()}" for passage in passages]


def _prose() -> list[str]:
    return (HERE / "prose.txt").read_text(encoding="utf-8").splitlines()
