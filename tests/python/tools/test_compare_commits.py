"""Two commits against each other: the statistics, and one real comparison of a small program."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

import compare_commits
from compare_commits import CompareError, common, figures, interval, judge

if TYPE_CHECKING:
    from pathlib import Path


def noisy(random: np.random.Generator, us: float, n: int, scatter: float = 0.05) -> list[float]:
    return [float(value) for value in us * np.exp(scatter * random.standard_normal(n))]


def test_the_same_values_are_not_worse() -> None:
    values = [3.0, 5.0, 4.0, 3.5, 4.5]
    verdict = judge("f", values, values, 1.0)
    assert (verdict.ratio, verdict.low, verdict.high, verdict.worse) == (1.0, 1.0, 1.0, False)


def test_half_as_fast_again_is_worse_and_the_reverse_is_not() -> None:
    random = np.random.default_rng(7)
    before, after = noisy(random, 10.0, 15), noisy(random, 15.0, 15)
    slower = judge("f", before, after, 1.1)
    assert slower.worse
    assert slower.low < 1.5 < slower.high
    assert slower.ratio == pytest.approx(1.5, rel=0.1)
    assert not judge("f", after, before, 1.1).worse


def test_a_sure_but_small_loss_is_below_the_threshold() -> None:
    random = np.random.default_rng(7)
    before, after = noisy(random, 10.0, 15, 0.005), noisy(random, 10.6, 15, 0.005)
    assert interval(before, after)[0] > 1.0
    assert not judge("f", before, after, 1.1).worse
    assert judge("f", before, after, 1.03).worse


def test_a_large_but_unsure_loss_is_not_worse() -> None:
    before = [10.0, 14.0, 10.0, 14.0, 10.0, 14.0, 10.0]
    after = [14.0, 10.0, 14.0, 10.0, 14.0, 10.0, 14.0]
    verdict = judge("f", before, after, 1.1)
    assert verdict.ratio == pytest.approx(1.4)
    assert not verdict.worse


def test_single_outliers_do_not_matter() -> None:
    random = np.random.default_rng(7)
    before, after = noisy(random, 10.0, 15), noisy(random, 10.0, 15)
    after[3] = after[8] = 1000.0
    assert not judge("f", before, after, 1.1).worse


def test_a_machine_that_slows_down_for_a_while_hits_both() -> None:
    random = np.random.default_rng(7)
    load = [1.0 + 3.0 * (i % 3 == 0) for i in range(15)]
    before = [value * x for value, x in zip(noisy(random, 10.0, 15, 0.01), load, strict=True)]
    after = [value * x for value, x in zip(noisy(random, 13.0, 15, 0.01), load, strict=True)]
    assert judge("f", before, after, 1.1).worse


def test_the_interval_holds_the_truth_about_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare_commits, "N_RESAMPLES", 400)
    random = np.random.default_rng(11)
    truth, n_held, n_alarms, n_trials = 1.2, 0, 0, 300
    for _ in range(n_trials):
        before = noisy(random, 10.0, 15, 0.1)
        low, high = interval(before, noisy(random, 10.0 * truth, 15, 0.1))
        n_held += low <= truth <= high
        n_alarms += judge("f", before, noisy(random, 10.0, 15, 0.1), 1.1).worse
    # Of medians the bootstrap's intervals are a little wide.
    assert 0.92 * n_trials <= n_held < n_trials
    assert n_alarms <= 0.02 * n_trials


def test_rounds_are_pairs_and_enough() -> None:
    with pytest.raises(ValueError, match="6 values before and 5 after"):
        interval([1.0] * 6, [1.0] * 5)
    with pytest.raises(ValueError, match="4 rounds; at least 5"):
        interval([1.0] * 4, [1.0] * 4)


def test_what_a_benchmark_prints() -> None:
    assert figures('noise\n{"figure": "a b", "us": 1.5, "n": 3}\n') == {"a b": 1.5}
    with pytest.raises(CompareError, match="no figures"):
        figures("nothing\n")
    with pytest.raises(CompareError, match="'a' twice"):
        figures('{"figure": "a", "us": 1}\n{"figure": "a", "us": 2}\n')
    with pytest.raises(CompareError, match=r"'a' is 0\.0 us"):
        figures('{"figure": "a", "us": 0}\n')


def test_figures_that_only_one_commit_has_are_left_out() -> None:
    runs = {"before": [{"a": 1.0, "b": 1.0}], "after": [{"c": 1.0, "b": 1.0}, {"b": 1.0}]}
    assert common(runs) == ["b"]


CMAKE = "cmake_minimum_required(VERSION 3.21)\nproject(p CXX)\nadd_executable(bench main.cpp)\n"
PRESETS = {
    "version": 3,
    "configurePresets": [
        {"name": "llama", "generator": "Ninja", "binaryDir": "${sourceDir}/build"}
    ],
}
MAIN = """#include <cstdio>
int main(int, char** argv) {{
  std::printf("{{\\"figure\\": \\"%s\\", \\"us\\": {}}}\\n", argv[1]);
}}
"""


def commit(folder: Path, message: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for arguments in (["add", "-A"], [*identity, "commit", "-qm", message]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of a benchmark: it takes 10 us and then 20; the third does not compile."""
    for tool in ("git", "cmake", "ninja", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    folder = tmp_path / "repository"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / "CMakeLists.txt").write_text(CMAKE)
    (folder / "CMakePresets.json").write_text(json.dumps(PRESETS))
    for source in (MAIN.format(10), MAIN.format(20), "no C++\n"):
        (folder / "main.cpp").write_text(source)
        commit(folder, "next")
    return folder


def test_two_commits(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(before: str, after: str) -> int:
        options = ["--target", "bench", "--runs", "5"]
        return compare_commits.main([before, after, *options, "--", "f g"], repository)

    assert run("HEAD~2", "HEAD~1") == 1
    assert "| f g | 10 | 20 | 2.000 | 2.000 .. 2.000 | WORSE |" in capsys.readouterr().out
    assert run("HEAD~1", "HEAD~2") == 0
    assert "| f g | 20 | 10 | 0.500 | 0.500 .. 0.500 |  |" in capsys.readouterr().out
    assert run("HEAD~1", "HEAD") == 2
    assert "main.cpp" in capsys.readouterr().err
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=repository, check=True, capture_output=True, text=True
    )
    assert len(listed.stdout.splitlines()) == 1  # nothing of ours is left


@pytest.mark.parametrize("options", [["--runs", "4"], ["--threshold", "0.9"]])
def test_options(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        compare_commits.main(["a", "b", *options])
