"""What the extension does with arguments that would end the process, and with the GIL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import InvalidArgument, _core

if TYPE_CHECKING:
    from pathlib import Path

    from tests.python.conftest import RunPython


def test_weights_of_a_policy_cannot_be_none(python: RunPython) -> None:
    code = """
from specbranch_cpp import _core
try:
    _core.Request().use_hrad(None, 0.5, 0.5)
except TypeError:
    print("refused")
"""
    assert python(code) == "refused"


def test_sizes_of_no_text(python: RunPython) -> None:
    """The number of texts divides."""
    code = """
from specbranch_cpp import InvalidArgument, _core
options = _core.ModelOptions(b"missing.gguf")
sizes = {"max_draft": 4, "max_branches": 2, "n_parallel": 0}
for refused in (
    lambda: _core.pair_sizes(draft=options, **sizes),
    lambda: _core.target_footprint(options, **sizes),
    lambda: _core.draft_footprint(options, **sizes),
):
    try:
        refused()
    except InvalidArgument as error:
        print(error)
"""
    assert python(code).splitlines() == ["n_parallel is 0; it must be at least 1"] * 3
    options = _core.ModelOptions(b"missing.gguf")
    with pytest.raises(InvalidArgument, match="n_parallel is -1"):
        _core.pair_sizes(4, 2, options, -1)


def test_a_damaged_header_is_named_and_not_printed(python: RunPython, tmp_path: Path) -> None:
    """The first call of a process already takes what llama.cpp logs."""
    path = write_tiny_gguf(tmp_path / "cut.gguf")
    path.write_bytes(path.read_bytes()[:200])
    code = f"""
from specbranch_cpp import ModelLoadError, _core
try:
    _core.inspect_model({str(path).encode()!r})
except ModelLoadError as error:
    print(error)
"""
    # The fixture requires that nothing is on the standard error.
    assert "cut off: read: string length" in python(code)


def test_other_threads_run_while_devices_are_asked(python: RunPython) -> None:
    """A device of another host may not answer, and a thread must be able to see that."""
    code = """
import sys, threading
from specbranch_cpp import _core

_core.list_devices()  # the first call takes longer
gate, ran = threading.Lock(), []
gate.acquire()

def wait():
    gate.acquire()
    ran.append(True)

thread = threading.Thread(target=wait)
thread.start()
sys.setswitchinterval(1000)  # from now on only a call that gives the GIL away lets it run
gate.release()
n_calls = 0
while not ran and n_calls < 100_000:
    _core.list_devices()
    n_calls += 1
print(bool(ran))
sys.setswitchinterval(0.005)
thread.join()
"""
    assert python(code) == "True"
