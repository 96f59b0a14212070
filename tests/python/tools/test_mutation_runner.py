"""How `tools/mutations` runs the tests of a broken tree, with programs that stand for the tests."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mutations import runner
from mutations.mutation import Mutation
from mutations.working_copy import Result, WorkingCopy, durations, first_failure, run_tests

if TYPE_CHECKING:
    from pathlib import Path

FAILURE = """\
TEST CASE:  a branch that is taken, with a comma
  of a subcase
x.cpp:12: ERROR: CHECK( a == b ) is NOT correct!
TEST CASE:  another one
x.cpp:30: ERROR: CHECK( c ) is NOT correct!
"""


def program(folder: Path, body: str) -> Path:
    """An executable Python program; `sys.argv` and `FAILURE` are at hand."""
    path = folder / "tests"
    path.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\nFAILURE = {FAILURE!r}\n{body}"
    )
    path.chmod(0o755)
    return path


def test_the_first_failure_is_named() -> None:
    assert first_failure(FAILURE) == FAILED_IN
    assert first_failure("x.cpp:12: ERROR: CHECK( a ) is NOT correct!") == ""


def test_the_durations_are_read() -> None:
    output = "0.000123 s: one\n1.500000 s: two: a colon\n[doctest] test cases: 2\n"
    assert durations(output) == {"one": 0.000123, "two: a colon": 1.5}


FAILED_IN = "a branch that is taken, with a comma"
NAMES_THE_TEST = """
signal.signal(signal.SIGTERM, lambda *_: (print(FAILURE, flush=True), os._exit(1)))
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("", Result(False)),
        ("print(FAILURE); sys.exit(1)", Result(True, FAILED_IN, FAILED_IN)),
        ("os.kill(os.getpid(), signal.SIGABRT)", Result(True, "", "(crash) ?")),
        (NAMES_THE_TEST, Result(True, FAILED_IN, f"(hangs) {FAILED_IN}")),
    ],
    ids=["passes", "fails", "crashes", "hangs"],
)
def test_a_run(tmp_path: Path, body: str, wanted: Result) -> None:
    timeout_s = 3.0 if "sleep" in body else 60.0
    assert run_tests(program(tmp_path, body), [], 0.1, timeout_s) == wanted


def working_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> WorkingCopy:
    """A copy of a tree of one file, whose tests are a program."""
    root = tmp_path / "root"
    (root / "cpp/specbranch").mkdir(parents=True)
    (root / "cpp/specbranch/a.cpp").write_text("return right;\n")
    monkeypatch.setattr("mutations.working_copy.ROOT", root)
    monkeypatch.setattr("mutations.working_copy.COPIED", ("cpp",))
    copy = WorkingCopy(tmp_path / "copy", scale=0.1, timeout_s=60.0)
    copy.seconds_of = {"the hint, of old": 0.1}
    folder = copy.tree / "build/tests/cpp"
    folder.mkdir(parents=True)
    program(folder, body).rename(folder / "specbranch_core_tests")
    return copy


BREAK = Mutation("wrong", "it is wrong", "a.cpp", "right", "wrong")


@pytest.mark.parametrize("known", ["the hint, of old", "a test that is gone", None])
def test_the_hint_runs_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str | None
) -> None:
    log = tmp_path / "log"
    body = f"""
import json
with open({str(log)!r}, "a") as file: print(json.dumps(sys.argv[1:]), file=file)
print(FAILURE)
sys.exit(1)
"""
    assert working_copy(tmp_path, monkeypatch, body).test(known).caught
    [options] = (json.loads(line) for line in log.read_text().splitlines())
    hinted = [r"--test-case=the hint\, of old"] if known == "the hint, of old" else []
    assert options == ["--abort-after=1", *hinted]


def test_a_hint_that_passes_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "if not any(a.startswith('--test-case') for a in sys.argv): print(FAILURE); sys.exit(1)"
    copy = working_copy(tmp_path, monkeypatch, body)
    assert copy.test("the hint, of old").caught
    assert not working_copy(tmp_path / "other", monkeypatch, "").test("the hint, of old").caught


@pytest.mark.parametrize(
    ("body", "error", "status", "said"),
    [
        ("print(FAILURE); sys.exit(1)", None, 0, "1 of 1 mutations caught"),
        ("", None, 1, "0 of 1 mutations caught; not caught: wrong"),
        ("print(FAILURE); sys.exit(1)", "a.cpp:1: error: no", 1, "not caught: wrong"),
    ],
    ids=["caught", "survived", "no build"],
)
def test_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    body: str, error: str | None, status: int, said: str,
) -> None:  # fmt: skip
    seen: list[str] = []

    def build(copy: WorkingCopy, jobs: int = 1) -> str | None:  # noqa: ARG001
        seen.append((copy.tree / "cpp/specbranch/a.cpp").read_text())
        return error

    def prepare(copy: WorkingCopy, jobs: int) -> float:  # noqa: ARG001
        copy.seconds_of = {}
        return 1.0

    original = working_copy(tmp_path / "first", monkeypatch, body)
    monkeypatch.setattr(WorkingCopy, "build", build)
    monkeypatch.setattr(WorkingCopy, "prepare", prepare)
    monkeypatch.setattr(runner, "WorkingCopy", lambda *_, **__: original)
    monkeypatch.setattr(runner, "CAUGHT_BY", tmp_path / "caught_by.json")
    monkeypatch.setattr("mutations.MUTATIONS", (BREAK,))
    args: Any = runner.make_parser().parse_args(["--jobs", "1", "--remember"])
    assert runner.run([BREAK], args, tmp_path) == status
    assert seen == ["return wrong;\n"]
    assert (original.tree / "cpp/specbranch/a.cpp").read_text() == "return right;\n"
    assert said in capsys.readouterr().out
    caught = {} if status else {"wrong": FAILED_IN}
    assert json.loads(runner.CAUGHT_BY.read_text()) == caught
