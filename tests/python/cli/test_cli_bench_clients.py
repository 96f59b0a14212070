"""`specbranch bench run --clients`, as a user calls it."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.bench_runs import write_prompts
from typer.testing import CliRunner, Result

from specbranch_cpp.bench import clients, crowd
from specbranch_cpp.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from specbranch_cpp.bench.crowd import Answer, Waits


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", "run", *map(str, arguments)])


@pytest.fixture
def small(pair: tuple[Path, Path], tmp_path: Path) -> list[object]:
    return [
        "-m", pair[0], "-md", pair[1], "--prompts", write_prompts(tmp_path), "--tokens", 5,
        "-c", 128, "--clients", "1,3", "-o", tmp_path / "out",
    ]  # fmt: skip


def test_a_table_records_and_a_report(tmp_path: Path, small: list[object]) -> None:
    done = run(*small)
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines() if line[:1] in "13"]
    assert [row[:3] for row in rows if row] == [
        ["1", "3", "autoregressive"], ["1", "3", "auto"],
        ["3", "3", "autoregressive"], ["3", "3", "auto"],
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in done.stdout.splitlines()[:6])
    records = [
        json.loads(line) for line in (tmp_path / "out/clients.jsonl").read_text().splitlines()
    ]
    assert [record["kind"] for record in records] == ["header", *["run"] * 4]
    plan = records[0]["plan"]
    assert (plan["tokens"], plan["n_prompts"], plan["parallel"]) == (5, 3, [3])
    assert (tmp_path / "out/clients.md").read_text().count("| auto ") == 2


def test_names_of_files_that_are_not_text(tmp_path: Path, small: list[object]) -> None:
    target = tmp_path / os.fsdecode(b"a\xff.gguf")
    target.symlink_to(str(small[1]))
    out = tmp_path / os.fsdecode(b"out\xfe")
    done = run("-m", target, *small[2:-1], out, "--modes", "autoregressive")
    assert done.exit_code == 0, done.output
    text = (out / "clients.md").read_text(encoding="utf-8")
    assert text.startswith("# Several clients: a\\xff.gguf + ")
    assert "clients.md has all figures" in done.stdout


def test_figures_as_json(small: list[object]) -> None:
    done = run(*small, "--json", "--parallel", "1,2", "--modes", "specbranch", "--repeat", 2)
    found = json.loads(done.stdout)
    assert set(found) == {"header", "rows"}
    assert [(row["n_clients"], row["n_parallel"], row["mode"]) for row in found["rows"]] == [
        (n, p, mode) for n in (1, 3) for p in (1, 2) for mode in ("autoregressive", "specbranch")
    ]
    for row in found["rows"]:
        assert set(row["first_s"]) == set(row["between_s"]) == {"p50", "p95"}
        assert len(row["rounds"]) == 2
        assert row["n_tokens"] == 2 * 3 * 5


def test_what_is_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[clients.ClientsRequest] = []

    def stop(request: clients.ClientsRequest, command: str) -> Any:
        assert command.startswith("specbranch ")
        seen.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["specbranch", "bench", "run"])
    monkeypatch.setattr(clients, "prepare", stop)
    assert run("--clients", "2", "-o", tmp_path).exit_code == 130
    assert run("--clients", "2", "-o", tmp_path, "--quick").exit_code == 130
    given = ["--n-prompts", 0, "--temperatures", "0.5", "--placements", "shared", "-s", 4]
    assert run("--clients", "2", "-o", tmp_path, "--quick", *given).exit_code == 130
    usual, quick, told = seen
    assert (usual.tokens, usual.n_prompts, usual.modes) == (128, 16, ("autoregressive", "auto"))
    assert (usual.parallel, usual.placement, usual.temperature) == (None, None, 0.0)
    assert (quick.tokens, quick.n_prompts) == (64, 12)
    assert (told.tokens, told.n_prompts) == (64, None)
    assert (told.temperature, told.placement, told.seed) == (0.5, "shared", 4)


def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, small: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = crowd.ask_all
    n_runs = 0

    def interrupted(n_clients: int, n_requests: int, ask: Callable[[int], Answer]) -> Waits:
        nonlocal n_runs
        n_runs += 1
        if n_runs == 3:
            raise KeyboardInterrupt
        return real(n_clients, n_requests, ask)

    monkeypatch.setattr(crowd, "ask_all", interrupted)
    done = run(*small)
    assert done.exit_code == 130
    assert "clients.jsonl has 2 of 4 measurements" in done.stderr.replace("\n", "")
    assert len((tmp_path / "out/clients.jsonl").read_text().splitlines()) == 3
    assert run(*small).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clients", "2,x"], "'x' is not a whole number"),
        (["--clients", "0"], "--clients is 0; it must be in 1 .. 256"),
        (["--clients", "4"], "it must be at most the number of prompts, which is 3"),
        (["--parallel", "17"], "--parallel is 17; it must be in 1 .. 16"),
        (["--lengths", "4"], "a run with --clients has no such option"),
        (["--pair", "a,b"], "a run with --clients has no such option"),
        (["--peers", "all"], "a run with --clients has no such option"),
        (["--bit-exact"], "a run with --clients has no such option"),
        (["--stretch", "0"], "a run with --clients has no such option"),
        (["-md", "other.gguf"], "a run with --clients takes one value, and there are 2"),
        (["--temperatures", "0,1"], "a run with --clients takes one value, and there are 2"),
        (["--modes", "warp"], "--modes is 'warp'"),
        (["--tokens", "200"], "use a larger --ctx-size"),
    ],
)
def test_bad_usage(tmp_path: Path, small: list[object], arguments: list[str], message: str) -> None:
    done = run(*small, *arguments)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "out/clients.jsonl").exists()


def test_parallel_needs_clients(tmp_path: Path) -> None:
    done = run("--parallel", "2", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "it needs --clients" in done.output
