"""`tools/cross_compile.py`: the core compiles for other systems, where Zig is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import cross_compile

if TYPE_CHECKING:
    from pathlib import Path

# The begins of programs: of Windows (MZ), and of macOS on ARM (64 bits, little-endian).
BEGINS = {"windows": b"MZ", "macos": b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01"}


@pytest.mark.slow
@pytest.mark.parametrize("name", cross_compile.SYSTEMS)
@pytest.mark.skipif(cross_compile.find_zig() is None, reason="this test needs Zig")
@pytest.mark.timeout(1200)
def test_the_core_compiles_and_links(name: str, tmp_path: Path) -> None:
    zig = cross_compile.find_zig()
    assert zig is not None
    program = cross_compile.cross_compile(name, zig, tmp_path, jobs=2)
    assert program.read_bytes().startswith(BEGINS[name])


def test_without_zig_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cross_compile, "find_zig", lambda: None)
    assert cross_compile.main([]) == 2
    assert "pip install ziglang" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cross_compile.main(["amiga"])


def test_what_does_not_compile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cross_compile, "find_zig", lambda: ["false"])
    monkeypatch.setattr(cross_compile, "configure", lambda *_: cross_compile.run("false"))
    assert cross_compile.main(["macos", "--folder", str(tmp_path)]) == 1
    assert "macos: Command" in capsys.readouterr().err
    wrapper = tmp_path / "macos/tools/zig-c++"
    assert wrapper.read_text() == '#!/bin/sh\nexec false c++ -target aarch64-macos "$@"\n'


def test_all_sources_that_ask_the_system_are_compiled() -> None:
    found = {path.name for path in cross_compile.RUNTIME.glob("system_*.cpp")}
    assert found == {name for name in cross_compile.SOURCES if name.startswith("system_")}
