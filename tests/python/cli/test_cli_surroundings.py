"""The command in bad surroundings: closed streams, full disks, Ctrl-C during imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from specbranch_cpp.cli.chat import turns

GENERATE = ("generate", "-p", "x", "-n", "2", "-q")


def run(
    *arguments: str,
    closed: tuple[int, ...] = (),
    code: str = "",
    python: tuple[str, ...] = (),
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m specbranch_cpp``, or other code, without some of the standard streams."""

    def close() -> None:
        for number in closed:
            os.close(number)

    program = ["-c", code] if code else ["-m", "specbranch_cpp"]
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    return subprocess.run(
        [sys.executable, *python, *program, *arguments],
        **{**streams, "stderr": subprocess.PIPE, **options},
        text=True, check=False, timeout=120, preexec_fn=close,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [GENERATE, (*GENERATE, "--json"), ("simulate",), ("models", "."), ("--version",), ("--help",)],
    ids=" ".join,
)
def test_closed_standard_output(command: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*command, closed=(1,), cwd=tmp_path)
    assert done.returncode == 1
    assert "specbranch: standard output: Bad file descriptor" in done.stderr
    assert "Traceback" not in done.stderr


def test_widths_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some programs say that the terminal has 0 columns."""
    for arguments in (["--help"], ["simulate", "--no-such-option"]):
        monkeypatch.setenv("COLUMNS", "80")
        usual = run(*arguments)
        assert "Usage" in usual.stdout + usual.stderr
        for width in ("0", "\N{SUPERSCRIPT TWO}"):
            monkeypatch.setenv("COLUMNS", width)
            done = run(*arguments)
            assert (done.stdout, done.stderr) == (usual.stdout, usual.stderr)


def test_closed_standard_error() -> None:
    assert run(*GENERATE, closed=(2,)).returncode == 0
    assert run(*GENERATE, closed=(1, 2)).returncode == 1
    assert run("generate", "--no-such-option", closed=(2,)).returncode == 2


@pytest.mark.parametrize("unbuffered", [(), ("-u",)])
def test_a_full_disk_behind_standard_error(unbuffered: tuple[str, ...]) -> None:
    """Notes do not decide whether a command succeeds, and an error keeps its exit code."""
    loud = GENERATE[:-1]
    commands = (
        (loud, 0),
        (("generate", "--no-such-option"), 2),
        ((*loud, "--temp", "-1"), 2),
        ((*loud, "-m", "none.gguf"), 1),
    )
    for arguments, code in commands:
        with Path("/dev/full").open("w") as full:
            done = run(*arguments, python=unbuffered, stderr=full)
        assert done.returncode == code
        assert bool(done.stdout) is (code == 0)


def test_standard_error_without_a_reader() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(*GENERATE[:-1], stderr=writer)
    os.close(writer)
    assert done.returncode == 0
    assert done.stdout


@pytest.mark.parametrize("command", [("generate",), ("generate", "-f", "-"), ("chat",)])
def test_closed_standard_input(command: tuple[str, ...]) -> None:
    done = run(*command, closed=(0,))
    assert done.returncode == 2
    assert "standard input is closed" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert run(*GENERATE, closed=(0,)).returncode == 0


def test_a_file_never_gets_the_number_of_a_stream(tmp_path: Path) -> None:
    """What a library prints on a closed stream would land in the file that is opened next."""
    code = (
        "import os, sys\nfrom specbranch_cpp._support.program import standard_streams\n"
        "with standard_streams():\n"
        f"    file = open({str(tmp_path / 'file')!r}, 'wb')\n"
        "    for number in (1, 2):\n"
        "        try: os.write(number, b'printed by a library')\n"
        "        except OSError: pass\n"
    )
    run(code=code, closed=(0, 1, 2))
    assert (tmp_path / "file").read_bytes() == b""


def test_a_full_disk_behind_standard_output(tmp_path: Path) -> None:
    """Where the output cannot be written, the command fails, also after its own end."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))

    for command in (GENERATE, ("--version",), ("simulate",)):
        with (tmp_path / "out").open("wb") as out:
            done = subprocess.run(
                [sys.executable, "-m", "specbranch_cpp", *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True,
                check=False, timeout=120, preexec_fn=limit,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        if command == GENERATE:
            continue  # its text may be short enough
        assert done.returncode == 1
        assert "File too large" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_all_characters(encoding: str) -> None:
    """As in a locale without UTF-8: an escape, and no UnicodeEncodeError."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONIOENCODING": encoding,
    }
    command = [sys.executable, "-m", "specbranch_cpp", *GENERATE, "--echo", "-p", "a\u2192b"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(rb"a\u2192b")
    assert done.stderr == b""


IMPORTS = """
import importlib.abc, os, signal, sys

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
signal.signal(signal.SIGINT, {handler})
from specbranch_cpp.__main__ import main
sys.argv = ["specbranch", "generate", "-p", "x", "-n", "2", "-q"]
main()
"""


@pytest.mark.parametrize(
    "name",
    ["typer", "specbranch_cpp.cli.generate", "rich",
     "specbranch_cpp.engine", "specbranch_cpp._engine.loading"],
)  # fmt: skip
def test_ctrl_c_while_modules_are_imported(name: str) -> None:
    done = run(code=IMPORTS.format(name=name, handler="signal.default_int_handler"))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_is_ignored_in_the_background() -> None:
    done = run(code=IMPORTS.format(name="typer", handler="signal.SIG_IGN"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_ctrl_c_after_the_imports() -> None:
    """Then there is something to end: the text so far stays, and the statistics follow."""
    code = (
        "import signal, sys\nfrom specbranch_cpp import generation\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "following = generation.Generation.__next__\n"
        "def interrupted(self):\n"
        "    if len(self._steps) == 3:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    return following(self)\n"
        "generation.Generation.__next__ = interrupted\n"
        "from specbranch_cpp.__main__ import main\n"
        "sys.argv = ['specbranch', 'generate', '-p', 'def f', '-n', '50', '--mode', "
        "'autoregressive']\nmain()\n"
    )
    done = run(code=code)
    assert done.returncode == 130
    assert done.stdout
    assert "end: cancelled" in done.stderr
    assert "Traceback" not in done.stderr


def test_turns_without_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="standard input is closed"):
        turns.open_turns(())
