"""`tools/sanitized_extension.py` names tests and libraries that are there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import sanitized_extension


def test_the_chosen_tests_are_there() -> None:
    for name in sanitized_extension.TESTS:
        assert (sanitized_extension.ROOT / name).is_file(), name
    code = "".join(
        (sanitized_extension.ROOT / name).read_text() for name in sanitized_extension.TESTS
    )
    for name in sanitized_extension.LEFT_OUT:
        assert f"def {name}(" in code, name


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_the_libraries_are_found() -> None:
    paths = sanitized_extension.preload().split(":")
    assert len(paths) == len(sanitized_extension.LIBRARIES)
    assert paths[0].rpartition("/")[2].startswith("libasan")
    assert all(Path(path).is_file() for path in paths)


def test_a_compiler_without_the_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho libasan.so\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"compiler has no libasan\.so"):
        sanitized_extension.preload()


@pytest.mark.parametrize(
    ("status", "n_reports", "expected"), [(0, 0, 0), (0, 2, 1), (5, 0, 5), (1, 1, 1)]
)
def test_a_report_fails_the_run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    status: int,
    n_reports: int,
    expected: int,
) -> None:
    site = tmp_path / "site"

    def run(
        command: list[str], *, env: dict[str, str], **_: object
    ) -> subprocess.CompletedProcess[str]:
        if "pytest" not in command:
            return subprocess.CompletedProcess(command, 0, f"{site}/specbranch_cpp/_core.so\n")
        log = env["ASAN_OPTIONS"].rpartition("log_path=")[2]
        for number in range(n_reports):
            Path(f"{log}.{number}").write_text("heap-use-after-free")
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(sanitized_extension, "BUILD", tmp_path)
    monkeypatch.setattr(sanitized_extension, "preload", lambda: "")
    monkeypatch.setattr(subprocess, "run", run)
    assert sanitized_extension.run([], site) == expected


def test_only_the_extension_is_exchanged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "python" / "specbranch_cpp"
    package.mkdir(parents=True)
    (package / "engine.py").write_text("x = 1\n")
    (package / "_core.cpython-310-x86_64-linux-gnu.so").write_text("the usual one")
    extension = tmp_path / "_core.cpython-311-x86_64-linux-gnu.so"
    extension.write_text("the checked one")
    monkeypatch.setattr(sanitized_extension, "ROOT", tmp_path)
    monkeypatch.setattr(sanitized_extension, "BUILD", tmp_path / "build")
    site = sanitized_extension.make_package(extension)
    found = {path.name: path.read_text() for path in (site / "specbranch_cpp").iterdir()}
    assert found == {"engine.py": "x = 1\n", extension.name: "the checked one"}
