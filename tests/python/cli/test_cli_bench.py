"""`specbranch bench`, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.python.support.bench_runs import write_prompts
from typer.testing import CliRunner, Result

from specbranch_cpp.bench import machine, near_ties, session
from specbranch_cpp.bench.group_engines import GroupEngines, MeasuredText
from specbranch_cpp.cli import app
from specbranch_cpp.errors import InvalidArgument


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture
def small(pair: tuple[Path, Path], tmp_path: Path) -> list[object]:
    return [
        "run", "-m", pair[0], "-md", pair[1], "--prompts", write_prompts(tmp_path),
        "--tokens", 5, "-c", 128, "--placements", "shared", "--lengths", "2",
    ]  # fmt: skip


def test_a_run_writes_records_report_and_a_table(tmp_path: Path, small: list[object]) -> None:
    folder = tmp_path / "out"
    done = run(*small, "-o", folder)
    assert done.exit_code == 0, done.output
    for name in ("autoregressive", "speculative (2, fixed)", "pearl (2, fixed)", "auto"):
        assert name in done.stdout
    assert "3 of 3" in done.stdout
    assert str(folder / "report.md") in done.stdout.replace("\n", "")
    text = (folder / "report.md").read_text()
    assert "15 texts of 15 are measured" in text
    again = run("report", folder)
    assert again.exit_code == 0
    assert (folder / "report.md").read_text() == text


def test_figures_as_json(tmp_path: Path, small: list[object]) -> None:
    done = run(*small, "--modes", "auto", "-o", tmp_path / "out", "--json")
    (group,) = json.loads(done.stdout)["groups"]
    assert [row["name"] for row in group["rows"]] == ["autoregressive", "auto"]
    assert json.loads(run("report", tmp_path / "out", "--json").stdout)["groups"] == [group]


def test_all_pairs_are_measured(
    tmp_path: Path, small: list[object], pair: tuple[Path, Path]
) -> None:
    done = run(
        *small, "-md", pair[0], "--pair", f"{pair[0]},{pair[1]}", "--modes", "autoregressive",
        "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["groups"]) == 2  # the third pair is the first one again


def test_paths_of_a_pair_with_commas(
    tmp_path: Path, small: list[object], pair: tuple[Path, Path]
) -> None:
    target, draft = tmp_path / "a,b.gguf", tmp_path / "c,d.gguf"
    target.symlink_to(pair[0])
    draft.symlink_to(pair[1])
    done = run(
        "run", *small[5:], "--pair", f"{target},{draft}", "--modes", "autoregressive",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "a,b.gguf + c,d.gguf" in done.stdout
    done = run("run", "--pair", "no,such,file", "-o", tmp_path / "none")
    assert "there is no such file; no" in done.stderr


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[session.BenchRequest]:
    """The requests of runs, which end there."""
    requests: list[session.BenchRequest] = []

    def stop(request: session.BenchRequest, **_: Any) -> None:
        requests.append(request)
        raise InvalidArgument("enough")

    monkeypatch.setattr(session, "prepare", stop)
    return requests


def test_quick_means_little_work_unless_told(
    tmp_path: Path, asked: list[session.BenchRequest]
) -> None:
    assert run("run", "--quick", "-o", tmp_path).exit_code == 2
    assert run("run", "--quick", "-n", 7, "--n-prompts", 0, "-o", tmp_path).exit_code == 2
    assert run("run", "-o", tmp_path).exit_code == 2
    quick, told, usual = asked
    assert (quick.tokens, quick.n_prompts, quick.lengths) == (64, 12, (4,))
    assert (told.tokens, told.n_prompts) == (7, None)
    assert (usual.tokens, usual.n_prompts, usual.lengths) == (128, 16, (4, 8))
    assert quick.pairs == usual.pairs


def test_lists_of_settings(tmp_path: Path, asked: list[session.BenchRequest]) -> None:
    lists = ("--epsilons", "0.2,0.6", "--sources", "draft,text")
    assert run("run", *lists, "-o", tmp_path).exit_code == 2
    assert run("run", "-o", tmp_path).exit_code == 2
    given, usual = asked
    assert (given.epsilons, given.sources) == ((0.2, 0.6), ("draft", "text"))
    assert (usual.epsilons, usual.sources) == ((0.4,), ("all",))


def test_different_texts_are_a_failure(
    tmp_path: Path, small: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GroupEngines.measure

    def altered(self: GroupEngines, variant: Any, *rest: Any) -> MeasuredText:
        done = real(self, variant, *rest)
        tokens = done.tokens[:-1] if variant.mode == "auto" else done.tokens
        return MeasuredText(tokens, done.stats)

    monkeypatch.setattr(GroupEngines, "measure", altered)
    done = run(*small, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "3 texts differ from those of autoregressive" in done.stderr
    assert "0 of 3" in done.stdout
    # A cut text is no near-tie: the end token is far behind.
    far = run(*small, "-o", tmp_path / "out", "--allow-near-ties")
    assert far.exit_code == 1
    monkeypatch.setattr(near_ties, "gap", lambda *_, **__: 0.01)
    assert run(*small, "-o", tmp_path / "two").exit_code == 1
    near = run(*small, "-o", tmp_path / "two", "--allow-near-ties")
    assert near.exit_code == 0, near.output
    assert "0.01" in (tmp_path / "two/report.md").read_text()


def test_a_table_fits_the_terminal_whatever_the_times_are(
    tmp_path: Path, small: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GroupEngines.measure
    n_calls = 0

    def halting(self: GroupEngines, variant: Any, *rest: Any) -> MeasuredText:
        # The machine stops for a day in some calls, and for no time in others.
        nonlocal n_calls
        n_calls += 1
        done = real(self, variant, *rest)
        ms = 864e5 if n_calls % 3 == 0 else 0.001
        return MeasuredText(done.tokens, {**done.stats, "decode_ms": ms})

    monkeypatch.setattr(GroupEngines, "measure", halting)
    done = run(*small, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line.endswith("3 of 3")]
    assert len(lines) == 5, done.stdout
    assert "speculative (2, fixed)" in done.stdout
    assert "over 100" in done.stdout


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, small: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GroupEngines.trace

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GroupEngines, "trace", interrupted)
    done = run(*small, "-o", tmp_path / "out")
    assert done.exit_code == 130
    assert "has 15 of at most 15 turns" in done.stderr.replace("\n", "")
    assert f"-o {tmp_path / 'out'}" in done.stderr.replace("\n", "")
    monkeypatch.setattr(GroupEngines, "trace", real)
    assert run(*small, "-o", tmp_path / "out").exit_code == 0


def test_a_busy_machine_is_named(
    tmp_path: Path, small: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for load, warned in ((50.0, True), (0.0, False), (None, False)):
        monkeypatch.setattr(machine, "load_average", lambda load=load: load)
        done = run(*small, "--modes", "autoregressive", "-o", tmp_path / str(load))
        assert ("other processes are running" in done.stderr) == warned


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "4,x"], "'x' is not a whole number"),
        (["--temperatures", "0,warm"], "'warm' is not a number"),
        (["--modes", "auto,"], "empty part"),
        (["--modes", "warp"], "--modes is 'warp'"),
        (["--temperatures", "-1"], "--temperatures is -1.0; it must be in 0"),
        (["--lengths", "65"], "--lengths is 65; it must be in 1 .. 64"),
        (["--placements", "moon"], "--placements is 'moon'"),
        (["--prompts", "none.jsonl"], "none.jsonl cannot be read"),
        (["--n-prompts", "-1"], "--n-prompts: -1 is below 0; 0: all prompts"),
        (["--tokens", "0"], "--tokens is 0; it must be in 1"),
        (["--repeat", "0"], "--repeat is 0"),
        (["--stretch", "15"], "--stretch is 15; it must be 0"),
        (["--target-precision", "0"], "0 is not between 0 and 1"),
        (["--target-precision", "nan"], "nan is not between 0 and 1"),
        (["--peers", "nobody"], "--peers is 'nobody'"),
        (["-md", "draft.gguf"], "a draft was given without a target"),
        (["--pair", "one.gguf"], "'one.gguf' is not a pair; write TARGET,DRAFT"),
        (["--policies", "hrad"], "--hrad"),
        (["--policies", "hrad", "--hrad", "none.safetensors"], "none.safetensors"),
        (["--hrad", "a.safetensors"], "it has no effect without the policy hrad"),
        (["--peer-lengths", "3"], "it has no effect without --peers"),
    ],
)
def test_bad_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run("run", "-o", tmp_path / "out", *arguments)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_models_that_are_none(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    done = run("run", "-m", pair[0], "-md", tmp_path / "none.gguf", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "none.gguf" in done.output


def test_a_report_of_nothing(tmp_path: Path) -> None:
    done = run("report", tmp_path)
    assert done.exit_code == 2
    assert "cannot be read" in done.output


def test_another_command_in_the_same_folder_is_refused(tmp_path: Path, small: list[object]) -> None:
    assert run(*small, "--modes", "autoregressive", "-o", tmp_path).exit_code == 0
    done = run(*small, "--modes", "autoregressive", "--tokens", 4, "-o", tmp_path)
    assert done.exit_code == 2
    assert "plan tokens was 5 and is 4" in " ".join(done.output.split())
