"""The module through which the package reads and writes files."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import threading
from typing import TYPE_CHECKING

import pytest
from tests.python.support.special_files import (
    WORDS,
    identity,
    make_special,
    no_hang,
    small_disk,
)

from specbranch_cpp import InvalidArgument
from specbranch_cpp._support import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    with no_hang():
        yield


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("linked", [False, True])
def test_only_regular_files(tmp_path: Path, kind: str, linked: bool) -> None:
    path = tmp_path / "special"
    make_special(path, kind)
    before = identity(path)
    if linked:
        named = tmp_path / "link"
        named.symlink_to(path.name)
    else:
        named = path
    for use in (
        files.read_file,
        files.open_file,
        files.open_log,
        files.check_output,
        lambda each: files.replace_file(each, b"new"),
    ):
        with pytest.raises(InvalidArgument, match=f"it is {WORDS[kind]}; it must be a regular f"):
            use(named)
    with pytest.raises(InvalidArgument, match=r"special|link.* cannot be read: it is"):
        files.file_sha256(str(named))
    assert identity(path) == before
    assert {each.name for each in tmp_path.iterdir()} <= {"special", "link"}


@pytest.mark.parametrize("path", ["\0", "a\0b", b"\0"])
def test_no_zero_bytes(tmp_path: Path, path: str | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for use in (files.read_file, files.read_input, files.open_log, files.check_output):
        with pytest.raises(InvalidArgument, match="this is no path"):
            use(path)
    with pytest.raises(InvalidArgument, match="this is no path"):
        files.replace_file(path, b"")


def test_a_refusal_has_words_like_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="a folder") as caught:
        files.read_file(tmp_path)
    again = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, again):
        assert isinstance(error, files.FileRefused)
        assert error.filename == str(tmp_path)
        assert error.strerror == "it is a folder; it must be a regular file"
        assert str(error) == f"{str(tmp_path)!r} cannot be used: {error.strerror}"


def test_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"12345")
    assert files.read_file(path, 5) == b"12345"
    with pytest.raises(InvalidArgument, match="more than 4 bytes"):
        files.read_file(path, 4)
    with path.open("rb") as file, pytest.raises(InvalidArgument, match="more than 4 bytes"):
        files.read_stream(file, "standard input", 4)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(InvalidArgument, match="more than 67,108,864 bytes"):
        files.read_file(path)


def test_a_large_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> bytes:
        raise AssertionError("it is read")

    monkeypatch.setattr(files, "_at_most", read)
    path = tmp_path / "text"
    path.write_bytes(b"12345")
    with pytest.raises(InvalidArgument, match="it has more than 4 bytes"):
        files.read_file(path, 4)


def test_an_endless_input_has_a_limit(tmp_path: Path) -> None:
    """The shell's <(yes): a FIFO that is never empty."""
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as file, contextlib.suppress(BrokenPipeError):
            while True:
                file.write(b"y\n" * 1000)

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(InvalidArgument, match="more than 100,000 bytes"):
        files.read_input(path, 100_000)
    writer.join()


def test_a_person_may_name_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[b"from a command"])
    writer.start()
    assert files.read_input(path) == b"from a command"
    writer.join()


@pytest.mark.parametrize("kind", ["folder", "socket", "device"])
def test_a_person_may_name_nothing_else(tmp_path: Path, kind: str) -> None:
    make_special(tmp_path / "special", kind)
    with pytest.raises(InvalidArgument, match=WORDS[kind]):
        files.read_input(tmp_path / "special")


def test_links_stay(tmp_path: Path) -> None:
    target, link, second = tmp_path / "target", tmp_path / "link", tmp_path / "second"
    target.write_bytes(b"old")
    link.symlink_to("target")
    second.symlink_to("link")
    files.replace_file(second, b"new")
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()
    assert (str(link.readlink()), str(second.readlink())) == ("target", "link")
    target.unlink()
    files.replace_file(link, b"again")  # the link leads to no file: it is made there
    assert target.read_bytes() == b"again"
    assert link.is_symlink()


def test_a_circle_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        files.replace_file(tmp_path / "a", b"")


def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_bytes(b"old")
    path.chmod(0o600)
    files.replace_file(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_of_the_greatest_length(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.replace_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path, new = tmp_path / "file", tmp_path / "new"
    path.write_bytes(b"old")
    for each in (path, new):
        with small_disk(4096), pytest.raises(OSError, match="File too large") as caught:
            files.replace_file(each, b"x" * 100_000)
        assert caught.value.filename == str(each)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with files.replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_comes_while_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def overtaken() -> None:
        with files.replacing(path) as file:
            file.write(b"text")
            os.mkfifo(path)

    with pytest.raises(InvalidArgument, match="a FIFO"):
        overtaken()
    assert path.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.check_output(tmp_path / "none" / "file")


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_that_is_write_protected(
    tmp_path: Path, exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file is written beside its place, so the folder decides, also for an old file."""
    path = tmp_path / "file"
    if exists:
        path.write_bytes(b"old")
    # root may write everywhere
    monkeypatch.setattr(os, "access", lambda each, _mode: os.fspath(each) != str(tmp_path))
    with pytest.raises(PermissionError) as caught:
        files.check_output(path)
    assert caught.value.filename == str(path)


def test_json_that_is_too_deep() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        files.from_json("[" * 1_000_000)
