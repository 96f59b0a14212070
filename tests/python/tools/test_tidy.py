"""`tools/tidy.py` skips what has passed, and only that."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

import tidy

SETTINGS = b"Checks: '-*,bugprone-*'\n"


class Project:
    """Two sources, a header of one of them, and a clang-tidy that fails on the word `bad`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.calls = folder / "calls"
        self.header = folder / "include" / "a.h"
        self.sources = [folder / "a.cpp", folder / "b.cpp"]
        self.header.parent.mkdir()
        self.header.write_text("int a();\n")
        self.sources[0].write_text('#include "a.h"\n#include <vector>\nint a() { return 1; }\n')
        self.sources[1].write_text("int b() { return 2; }\n")
        self.flags = "-Iinclude -O2"
        self.write_commands()
        self.program = folder / "clang-tidy"
        self.program.write_text(
            "#!/bin/sh\n"
            'if [ "$1" = --version ]; then echo version 1; exit; fi\n'
            f'for source; do :; done; basename "$source" >> {self.calls}\n'
            'if grep -q bad "$source"; then echo "$source: bad"; exit 1; fi\n'
        )
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def write_commands(self) -> None:
        entries = [
            {
                "directory": str(self.folder),
                "command": f"/usr/bin/ccache c++ {self.flags} -c {source.name}",
                "file": source.name,
            }
            for source in self.sources
        ]
        (self.folder / "compile_commands.json").write_text(json.dumps(entries))

    def check(self, settings: bytes = SETTINGS) -> tuple[int, list[str]]:
        """Returns how many failed, and which were given to clang-tidy."""
        self.calls.unlink(missing_ok=True)
        n_failed = tidy.check(
            self.folder, set(self.sources), self.cache, str(self.program), settings
        )
        calls = self.calls.read_text().split() if self.calls.exists() else []
        return n_failed, sorted(calls)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_what_passed_is_not_checked_again(project: Project) -> None:
    assert project.check() == (0, ["a.cpp", "b.cpp"])
    assert project.check() == (0, [])


def test_a_changed_header_brings_back_what_includes_it(project: Project) -> None:
    project.check()
    project.header.write_text("long a();\n")
    assert project.check() == (0, ["a.cpp"])


def test_other_flags_and_settings_bring_back_everything(project: Project) -> None:
    project.check()
    project.flags = "-Iinclude -O3"
    project.write_commands()
    assert project.check() == (0, ["a.cpp", "b.cpp"])
    assert project.check(b"Checks: '*'\n") == (0, ["a.cpp", "b.cpp"])


def test_a_failure_is_told_each_time(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    project.sources[1].write_text("int bad;\n")
    for _ in range(2):
        n_failed, calls = project.check()
        assert n_failed == 1
        assert "b.cpp" in calls
        assert "b.cpp: bad" in capfd.readouterr().err


def test_a_source_that_is_not_compiled_is_a_failure(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    new = project.folder / "c.cpp"
    new.write_text("int c;\n")
    project.sources.append(new)
    assert project.check() == (1, [])
    assert "c.cpp" in capfd.readouterr().err


def test_what_was_long_not_used_is_forgotten(project: Project) -> None:
    project.check()
    long_ago = time.time() - tidy.KEPT_SECONDS - 1
    for mark in project.cache.iterdir():
        os.utime(mark, (long_ago, long_ago))
    project.sources[0].write_text('#include "a.h"\nint a() { return 3; }\n')
    project.check()
    assert len(list(project.cache.iterdir())) == 2  # b's was used, a's old one is gone
