"""The system refuses threads: the errors are documented, and the engine goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from specbranch_cpp import AsyncEngine, Engine, ModelLoadError, SpecBranchError
from specbranch_cpp._support.raised import refused_by_system

if TYPE_CHECKING:
    from pathlib import Path

    from tests.python.conftest import MakeFake

CHILD = """
import resource, sys
from specbranch_cpp import Engine, SpecBranchError
from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._engine import loading
cpu_probe.ensure_safe_cpu(sys.argv[1:])
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1])
# Python itself goes on, but there is no room for the stack of a thread, which has 8 MiB.
resource.setrlimit(resource.RLIMIT_AS, ((used + 4096) * 1024,) * 2)
try:
    Engine(sys.argv[1], n_ctx=128)
except (SpecBranchError, MemoryError) as error:
    print("documented:", error)
"""
GLIBC = 127  # glibc itself ends a process whose thread gets no memory


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    return monkeypatch


def test_loading_without_room_for_threads(tiny: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tiny)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout.startswith("documented:") or done.returncode == GLIBC, done.stderr
    assert "RuntimeError" not in done.stderr


def test_processors(make_fake: MakeFake, no_threads: pytest.MonkeyPatch) -> None:
    engine = make_fake()
    with pytest.raises(SpecBranchError, match="the system refuses what the engine needs"):
        engine.generate("abc", max_tokens=4, logits_processor=lambda _, scores: scores)
    no_threads.undo()
    assert len(engine.generate("abc", max_tokens=4).result().tokens) == 4


def test_streams_of_an_event_loop(make_fake: MakeFake, no_threads: pytest.MonkeyPatch) -> None:
    engine = make_fake()

    async def text() -> str:
        return "".join([chunk.text async for chunk in AsyncEngine.of(engine).generate("abc")])

    with pytest.raises(SpecBranchError, match="the system refuses what the engine needs"):
        asyncio.run(text())
    no_threads.undo()
    assert len(engine.generate("abc", max_tokens=4).result().tokens) == 4


def test_several_texts(make_fake: MakeFake, no_threads: pytest.MonkeyPatch) -> None:
    engine = make_fake()
    with pytest.raises(SpecBranchError, match="the system refuses what the engine needs"):
        engine.generate_many(["abc", "abd"], max_tokens=4)
    no_threads.undo()
    assert len(engine.generate_many(["abc", "abd"], max_tokens=4)) == 2


@pytest.mark.usefixtures("no_threads")
def test_an_engine_in_another_process(tiny: Path) -> None:
    with pytest.raises(SpecBranchError, match="the system refuses what the engine needs"):
        Engine(tiny, n_ctx=128, isolate=True)


def test_an_error_of_the_caller_stays(tiny: Path) -> None:
    def broken(_: float) -> None:
        raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match=r"^of the caller$") as caught:
        Engine(tiny, n_ctx=128, progress_callback=broken)
    assert type(caught.value) is RuntimeError


def test_documented_errors_stay() -> None:
    with pytest.raises(SpecBranchError, match=r"^as it was$"), refused_by_system(ModelLoadError):
        raise SpecBranchError("as it was")
