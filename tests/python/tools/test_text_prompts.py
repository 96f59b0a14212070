"""The prompts of the benchmark of drafts from the text."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.text_prompts import SETS, chatml, json_edit, prompts, rename  # noqa: E402


def test_four_sets_of_ten() -> None:
    texts = [text for name in SETS for text in prompts(name)]
    assert [len(prompts(name)) for name in SETS] == [10] * 4
    assert len(set(texts)) == 40
    assert all(text.isascii() and text == text.strip() for text in texts)
    with pytest.raises(KeyError):
        prompts("poems")


@pytest.mark.parametrize("task", rename.TASKS, ids=lambda task: f"{task.file} {task.old}")
def test_files_to_rename(task: rename.Task) -> None:
    source, answer = rename.source(task), rename.renamed(task)
    assert 140 <= len(source.splitlines()) <= 160
    assert max(map(len, source.splitlines())) <= 100
    changed = [a != b for a, b in zip(source.splitlines(), answer.splitlines(), strict=True)]
    assert 2 <= sum(changed) <= 40
    assert task.new not in source, "the new name is free"
    for word in task.subject:
        assert word not in source, "all words have become those of the other subject"
    if task.file.endswith(".py"):
        ast.parse(source)
        ast.parse(answer)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each)]
    return [value]


def test_documents_with_one_change() -> None:
    for words, document, changed in json_edit.tasks():
        assert 55 <= len(json.dumps(document, indent=2).splitlines()) <= 110
        pairs = list(zip(leaves(document), leaves(changed), strict=True))
        assert [a == b for a, b in pairs].count(False) == 1, words


def test_a_folder_of_sets(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.text_prompts", str(tmp_path), "--chatml"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert sorted(file.stem for file in tmp_path.iterdir()) == sorted(SETS)
    first = json.loads((tmp_path / "prose.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first == {"kind": "prose", "prompt": chatml(prompts("prose")[0])}
