"""What the tests of the API share."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from specbranch_cpp import Engine, _core, demo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from tests.python.support.llama_scores import Llama
    from tests.python.support.page_driver import LiveView, OpenView
    from tests.python.support.page_stand_in import StandIn

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # for tests.python.support.tiny_gguf

# The files of the tests are new all the time. What tests the trial of new files sets this itself.
os.environ.setdefault("SPECBRANCH_FILE_TRIAL", "0")

_LONG_FILES = (
    "matrix/test_matrix.py", "api/test_exact_rows.py", "tools/test_fuzz.py",
    "tools/test_demo_pair_tool.py", "tools/test_hybrid_pair.py", "check/test_check.py",
    "bench/test_bench_peers.py", "api/test_stopping.py", "bench/test_bench_run.py",
    "page/test_page.py", "cli/test_cli_lora.py", "tools/test_server_clients_benchmark.py",
)  # fmt: skip
"""Files that take long begin first, so that at the end no process has to wait for them."""

# Several tests run at once on the same cores. PyTorch would start threads for all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where we were started in the background, Ctrl-C is ignored, also by the processes we start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(_LONG_FILES)}

    def rank(item: pytest.Item) -> int:
        return ranks.get("/".join(item.path.parts[-2:]), len(ranks))

    items.sort(key=rank)


def pytest_configure(config: pytest.Config) -> None:
    from tests.python.support import skips

    skips.pytest_configure(config)
    atexit.register(_close_files_of_llama_cpp)


def _close_files_of_llama_cpp() -> None:
    """Python complains at its end about two files that llama-cpp-python leaves open."""
    module = sys.modules.get("llama_cpp._utils")
    for name in ("outnull_file", "errnull_file"):
        if hasattr(module, name):
            getattr(module, name).close()


LETTERS = tuple(bytes([byte]) for byte in b"abcdefghijklmnopqrstuvwxyz .,;\n-")


class MakeFake(Protocol):
    """Makes an engine of fakes; options as in `_core._FakeOptions`, ``target_`` for one side.

    ``sources``: arguments of `_core._fake_engine` about texts that propose tokens.
    """

    def __call__(
        self,
        *,
        draft: bool = True,
        pieces: tuple[bytes, ...] = LETTERS,
        sources: dict[str, Any] | None = None,
        **options: Any,
    ) -> Engine: ...


@pytest.fixture
def make_fake() -> Iterator[MakeFake]:
    engines = []

    def make(
        *,
        draft: bool = True,
        pieces: tuple[bytes, ...] = LETTERS,
        sources: dict[str, Any] | None = None,
        **options: Any,
    ) -> Engine:
        sides = {"target": _core._FakeOptions(), "draft": _core._FakeOptions()}
        for side, fake in sides.items():
            fake.n_vocab = len(pieces)
            for name, value in options.items():
                if not name.startswith(("target_", "draft_")):
                    setattr(fake, name, value)
                elif name.startswith(side):
                    setattr(fake, name.removeprefix(f"{side}_"), value)
        core = _core._fake_engine(
            sides["target"], sides["draft"] if draft else None, list(pieces), **(sources or {})
        )
        engines.append(Engine._from_core(core))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. No longer than a module: meanwhile no test can have an event loop."""
    from tests.python.support.page_driver import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in for the server of the live view."""
    from tests.python.support.page_stand_in import StandIn

    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def open_view(browser: Browser, stand_in: StandIn) -> Iterator[OpenView]:
    """Opens the page; afterwards nothing may have been complained of or fetched from elsewhere."""
    from tests.python.support.page_driver import LiveView

    views: list[LiveView] = []

    def make(**options: Any) -> LiveView:
        views.append(LiveView(browser, stand_in.url, **options))
        return views[-1]

    yield make
    for view in views:
        view.close()
        assert view.foreign == []
        # Refused requests are noted by the browser itself.
        assert [words for words in view.complaints if "Failed to load resource" not in words] == []


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """What llama.cpp itself computes with a model."""
    from tests.python.support.llama_scores import Llama

    llama = Llama(tmp_path_factory.mktemp("llama"))
    yield llama
    llama.close()


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this package for one test. Nothing of the user's own is read or written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "specbranch_cpp"


@pytest.fixture(scope="session")
def real_models() -> Path:
    """The folder of real models that SPECBRANCH_REAL_MODELS names (CONTRIBUTING.md)."""
    folder = Path(os.environ.get("SPECBRANCH_REAL_MODELS", ""))
    if not folder.name or not folder.is_dir():
        pytest.skip("SPECBRANCH_REAL_MODELS names no folder with real models")
    return folder


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Target and draft: the bundled ones, others that the environment names, or random ones."""
    if "SPECBRANCH_TEST_TARGET" in os.environ:
        return (
            Path(os.environ["SPECBRANCH_TEST_TARGET"]),
            Path(os.environ["SPECBRANCH_TEST_DRAFT"]),
        )
    try:
        return demo.pair()
    except FileNotFoundError:
        pass
    from tests.python.support.tiny_gguf import write_tiny_gguf

    folder = tmp_path_factory.mktemp("pair")
    target = write_tiny_gguf(folder / "target.gguf", weight_type="Q8_0", n_layer=3)
    # The same random weights with a layer less: a draft that is sometimes right.
    draft = write_tiny_gguf(folder / "draft.gguf", weight_type="Q8_0", n_layer=2)
    return target, draft


@pytest.fixture(scope="session")
def engine(pair: tuple[Path, Path]) -> Iterator[Engine]:
    """An engine of real models for tests that leave it as it is."""
    with Engine(*pair, n_ctx=2048, n_threads=1, draft_n_threads=1) as engine:
        yield engine


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target of random weights for tests that leave the file as it is."""
    from tests.python.support.tiny_gguf import write_tiny_gguf

    folder = tmp_path_factory.mktemp("tiny")
    return write_tiny_gguf(folder / "target.gguf", weight_type="Q8_0")


@pytest.fixture(scope="session")
def tiny_draft(tiny: Path) -> Path:
    """Its draft, of a layer."""
    from tests.python.support.tiny_gguf import write_tiny_gguf

    return write_tiny_gguf(tiny.parent / "draft.gguf", weight_type="Q8_0", n_layer=1)


def run_program(file: Path, *arguments: str, cwd: Path | None = None) -> str:
    """Runs a program as a user would, which has to succeed and to print; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(file), *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    return done.stdout


class RunPython(Protocol):
    """Runs the code in a process of its own, which has to succeed; returns what it prints."""

    def __call__(self, code: str) -> str: ...


@pytest.fixture
def python() -> RunPython:
    def run(code: str) -> str:
        result = subprocess.run(
            [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return result.stdout.strip()

    return run
