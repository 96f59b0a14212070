"""The benchmark of drafts from the text, on the bundled pair."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks import text_drafts  # noqa: E402

SMALL = ["--sets", "prose", "--n-prompts", "2", "--tokens", "24", "--stretch", "0", "--plain",
         "--n-ctx", "512", "--peers", "none"]  # fmt: skip


def test_both_sources_take_turns(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text_drafts.main([*map(str, pair), "-o", str(tmp_path), *SMALL])
    header, _, row = capsys.readouterr().out.splitlines()[-3:]
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert columns == ["prompts", "auto (text)", "auto (draft)", "auto", "equal texts"]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "prose"
    assert cells[-1] == "8 of 8"
    assert all(float(cell.split()[0]) > 0.0 for cell in cells[1:-1])
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "auto (text)" in report


def test_a_target_alone(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text_drafts.main([str(pair[0]), "-o", str(tmp_path), *SMALL])
    header, _, row = capsys.readouterr().out.splitlines()[-3:]
    assert [cell.strip() for cell in header.strip("|").split("|")][:2] == ["prompts", "auto"]
    assert row.endswith("| 4 of 4 |")
