"""The fuzzers of `tools/fuzz`: short runs, and faults that they have to find."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.python.conftest import ROOT
from tests.python.support.tiny_gguf import write_tiny_gguf

from fuzz.crowd import BrokenPromiseError
from fuzz.file_cases import FileCases
from fuzz.gguf_bytes import Gguf
from fuzz.http_calls import HttpCaller, HttpRequest
from fuzz.python_calls import Call, PythonCaller
from fuzz.schema_calls import RuleCase, SchemaCaller
from specbranch_cpp import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

SEARCH = os.pathsep.join([str(ROOT / "tools"), str(ROOT), *sys.path])
SHORT = {
    "files": ["--count", "80", "--quick"],
    "adapters": ["--count", "60"],
    "requests": ["--first", "940", "--count", "120"],  # 60 calls, then 60 HTTP requests
    "schemas": ["--count", "80"],
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | {"PYTHONPATH": SEARCH},
        capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip


def found(program: str) -> str:
    """What a program with a planted fault prints; a fuzzer runs in a process without threads."""
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", ["18", None], ids=["fixed seed", "random seed"])
@pytest.mark.parametrize("what", SHORT)
def test_a_short_run_finds_nothing(what: str, seed: str | None) -> None:
    chosen = [] if seed is None else ["--seed", seed]
    done = run("-m", "tools.fuzz", what, *SHORT[what], *chosen)
    print(done.stdout)  # with the seed
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 failures\n")
    n_cases = SHORT[what][SHORT[what].index("--count") + 1]
    assert f"\n{n_cases} cases in " in done.stdout


@pytest.fixture
def base(tmp_path: Path) -> Gguf:
    return Gguf.read(write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes())


def test_a_file_is_written_as_it_was_read(tmp_path: Path) -> None:
    data = write_tiny_gguf(tmp_path / "tiny.gguf", weight_type="Q4_0", biases=True).read_bytes()
    assert Gguf.read(data).packed() == data


def test_a_case_follows_from_seed_and_index(base: Gguf) -> None:
    first, second = (FileCases({"tiny": base}, 5) for _ in range(2))
    assert [first.case(i) for i in range(40)] == [second.case(i) for i in range(40)]
    assert first.case(3) != FileCases({"tiny": base}, 6).case(3)
    same = base.packed()
    assert sum(first.case(i).data == same for i in range(40)) < 4
    for made in (Call, HttpRequest, RuleCase):
        assert str(made(5, 9)) == str(made(5, 9))
        assert str(made(5, 9)) != str(made(6, 9))


def test_a_case_is_written(tmp_path: Path) -> None:
    asked = ["files", "--quick", "--seed", "4", "--first", "2", "--count", "1", "--write"]
    done = run("-m", "tools.fuzz", *asked, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["4-2.gguf"]
    assert "4-2.gguf: " in done.stdout


FILES = """
import os, sys
from pathlib import Path
import tempfile
from tests.python.support.tiny_gguf import write_tiny_gguf
from fuzz import file_stages
from fuzz.file_cases import FileCase
from fuzz.findings import Findings
from fuzz.fuzz_files import FileFuzzer, check_bases
from fuzz.gguf_bytes import Gguf
from specbranch_cpp import Engine, ModelLoadError, _core
from specbranch_cpp._llama import trial_program

def wait(*_, **__):
    os.read(os.pipe()[0], 1)

def fail(*_, **__):
    raise ZeroDivisionError("planted")

{fault}
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "x.gguf")
    data = write_tiny_gguf(path).read_bytes()
    findings = Findings()
    fuzzer = FileFuzzer({{"tiny": Gguf.read(data)}}, 1, findings, limit_s={limit_s})
    fuzzer.judge(FileCase(0, "tiny", ("nothing",), data), path)
    print(dict(findings.counts), len(findings.failures))
    if {with_bases}:
        print(check_bases({{"tiny": Gguf.read(data)}}, limit_s={limit_s}))
"""


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("", "{'accepted: worked': 1} 0\n[]"),
        ("Engine.generate = os.abort", "greedy: SIGABRT"),
        ("Engine.generate = wait", "greedy: hang"),
        ("Engine.__init__ = lambda *_, **__: os.abort()", "load: SIGABRT"),
        ("Engine.create_chat_completion = fail", "chat: an undocumented exception"),
        ("_core.inspect_model = lambda _: os.abort()", "rules: SIGABRT"),
        ("_core.inspect_model = fail", "rules: an undocumented exception"),
        ("file_stages.read_header = fail", "header: an undocumented exception"),
        ("Engine.close = lambda *_: os._exit(3)", "close: exit 3"),
        (
            "trial_program.load = lambda *_, **__: os.abort()",
            "{'trial: died (SIGABRT)': 1} 0\n['tiny']",
        ),
        ("trial_program.load = wait", "{'trial: hung': 1} 0"),
        ("trial_program.load = fail", "{'trial: error': 1} 0"),
    ],
)
def test_faults_of_files(fault: str, what: str) -> None:
    limit_s = 5.0 if fault.endswith("= wait") else 60.0
    fault = fault.replace("= os.abort", "= lambda *_, **__: os.abort()")
    program = FILES.format(fault=fault, limit_s=limit_s, with_bases="\n" in what)
    assert what in found(program)


CROWD = """
import contextlib, os, threading
from fuzz import crowd as crowd_module
from fuzz.crowd import BrokenPromiseError, Crowd
from fuzz.findings import Findings

class Caller:
    known = "known"

    def call(self, index):
        if index == 3:
            {fault}
        return "worked"

    def known_text(self):
        return self.known

findings = Findings()
caller = contextlib.nullcontext(Caller())
# A busy case computes for a half of the limit, so that it is found soon.
crowd_module._BUSY = 0.5
crowd = Crowd(lambda: caller, str, findings, 1, n_clients=2, limit_s=3.0, known_every=2)
crowd.run(range(20))
print(sorted({{failure.index for failure in findings.failures}}), findings.counts["worked"])
"""


@pytest.mark.parametrize(
    ("fault", "index", "what"),
    [
        ("os.abort()", 3, "SIGABRT"),
        ("threading.Event().wait()", 3, "no end within"),
        ("while True: pass", 3, "no end within"),
        ("raise BrokenPromiseError('planted')", 3, "a broken promise"),
        ("raise ZeroDivisionError", 3, "ZeroDivisionError"),
        ("os._exit(0)", 3, "exit 0"),
        ("Caller.known = 'other'", -1, "the known text was 'known' and is 'other'"),
    ],
)
def test_faults_of_calls(fault: str, index: int, what: str) -> None:
    printed = found(CROWD.format(fault=fault))
    last = printed.splitlines()[-1]
    assert what in printed
    assert str(index) in last.partition("]")[0]
    # The cases after the fault run, too; another case may have been running beside it.
    assert int(last.rpartition(" ")[2]) >= 18


def replying(status: int, text: str) -> HttpCaller:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=text))
    return HttpCaller(httpx.Client(base_url="http://x", transport=transport), 1)


def test_faults_of_replies() -> None:
    assert replying(200, "{}").call(1).endswith("200")
    assert replying(400, "{}").call(1).endswith("400")
    with pytest.raises(BrokenPromiseError, match="status 500"):
        replying(500, "{}").call(1)
    with pytest.raises(BrokenPromiseError, match="status 200"):
        replying(200, 'data: {"error": {"code": "x", "code":"internal_error"}}').call(1)

    def drop(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("planted")

    client = httpx.Client(base_url="http://x", transport=httpx.MockTransport(drop))
    with pytest.raises(BrokenPromiseError, match="no reply"):
        HttpCaller(client, 1).call(1)


class Stub:
    """An engine whose every method raises an error or returns a value."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __getattr__(self, _: str) -> Any:
        def method(*_: object, **__: object) -> Any:
            if isinstance(self._result, Exception):
                raise self._result
            return self._result

        return method


class Done:
    """A text that has ended."""

    finish_reason = "stop"

    def __init__(self, text: str) -> None:
        self.text = text


def test_undocumented_exceptions_of_calls() -> None:
    refused = PythonCaller(Stub(InvalidArgument("x")), 1)  # type: ignore[arg-type]
    broken = PythonCaller(Stub(ValueError("x")), 1)  # type: ignore[arg-type]
    for index in range(20):
        assert refused.call(index).endswith("InvalidArgument")
        with pytest.raises(BrokenPromiseError, match="ValueError"):
            broken.call(index)


def test_answers_that_break_a_schema() -> None:
    kinds = {RuleCase(1, i).kind: i for i in range(60)}
    index = kinds["strict schema"]
    no_json = SchemaCaller(Stub(Done("{")), 1)  # type: ignore[arg-type]
    with pytest.raises(BrokenPromiseError, match="is not JSON"):
        no_json.call(index)
    outcomes = []
    for i in range(60):
        if RuleCase(1, i).kind == "strict schema":
            caller = SchemaCaller(Stub(Done('{"no": ["schema", "wants", "this"]}')), 1)  # type: ignore[arg-type]
            try:
                outcomes.append(caller.call(i))
            except BrokenPromiseError as error:
                outcomes.append(str(error))
    assert any("the schema is strict" in outcome for outcome in outcomes)
