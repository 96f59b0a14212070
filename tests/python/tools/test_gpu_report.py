"""`benchmarks/gpu_report.py`: what it makes of what the stages leave."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks import gpu_report

if TYPE_CHECKING:
    from pathlib import Path

XML = """<testsuites><testsuite>
<testcase name="good"/><testcase name="bad"><failure message="no"/></testcase>
<testcase name="worse"><error message="no"/></testcase>
<testcase name="later"><skipped message="no GPU"/></testcase>
</testsuite></testsuites>"""


def row(name: str, *, best: bool, speedup: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "is_best": best,
        "tokens_per_second": 55.55,
        "speedup": None if speedup is None else {"total": speedup},
        "n_equal": 3,
        "n_texts": 4,
    }


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "stamps").mkdir()
    (tmp_path / "stamps/llama").write_text("key\n")
    (tmp_path / "stamps/llama.seconds").write_text("200\n")
    (tmp_path / "test.xml").write_text(XML)
    (tmp_path / "curves").mkdir()
    costs = {
        "target_us": [2000.0, 2100.0, 2200.0, 2400.0],
        "draft_us": [500.0, 510.0, 520.0, 550.0],
        "target_slowdown": 1.25,
        "draft_slowdown": 1.5,
    }
    curves = {"costs": costs, "hop_us": 12.0}
    (tmp_path / "curves/r8-gpu.json").write_text(json.dumps(curves))
    group = {
        "placement": "gpu",
        "temperature": 0.8,
        "rows": [
            row("pearl (4)", best=False, speedup=1.1),
            row("pearl (8)", best=True, speedup=1.234),
            row("autoregressive", best=True, speedup=None),
        ],
    }
    (tmp_path / "bench/r8").mkdir(parents=True)
    (tmp_path / "bench/r8/summary.json").write_text(json.dumps({"groups": [group]}))
    (tmp_path / "copies").mkdir()
    seconds = {"still there": [0.5, 0.25, 1.0], "came back": [0.75, 0.5, 0.625]}
    record = json.dumps({"tokens": 1000, "seconds": seconds})
    (tmp_path / "copies/r8.jsonl").write_text(f"{record}\n")
    (tmp_path / "bench/r4").mkdir()
    (tmp_path / "bench/r4/summary.json").touch()  # it failed there
    return tmp_path


def test_everything(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = work / "report.json"
    assert gpu_report.main([str(work), "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["stages"] == {"llama": 200}
    assert report["tests"] == {"passed": 1, "failed": ["bad", "worse"], "skipped": {"no GPU": 1}}
    assert report["curves"]["r8-gpu"]["hop_us"] == 12.0
    assert list(report["bench"]) == ["r8"]
    assert report["machine"]["llama.cpp"]
    shown = capsys.readouterr().out.splitlines()
    assert "tests: 1 passed, 2 failed, 1 skipped" in shown
    assert "  failed: worse" in shown
    assert "| r8-gpu | 2.00 ms | 1.20 | 1.25 | 0.50 ms | 1.10 | 1.50 | 12 |" in shown
    assert "| r8 | gpu | 0.8 | pearl (8) | 55.5 | 1.23 | 3 of 4 |" in shown
    assert "| r8 | gpu | 0.8 | autoregressive | 55.5 |  | 3 of 4 |" in shown
    assert "| pair | tokens | still there, s | came back, s |" in shown
    assert "| r8 | 1000 | 0.500 | 0.625 |" in shown
    assert not any("pearl (4)" in line for line in shown)


def test_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_report.main([str(tmp_path)]) == 0
    assert "|" not in capsys.readouterr().out
    assert gpu_report.main([str(tmp_path / "none")]) == 1
    assert "there is no folder" in capsys.readouterr().err
