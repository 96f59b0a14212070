"""Exceptions that llama.cpp throws through the extension."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, InvalidArgument, _core

if TYPE_CHECKING:
    from pathlib import Path


def test_what_llama_cpp_throws_becomes_an_error_of_ours(tmp_path: Path) -> None:
    """A C++ library other than llama.cpp's could not catch it: the process would end."""
    path = write_tiny_gguf(tmp_path / "model.gguf", sentencepiece=True)
    with Engine(path, n_ctx=256) as engine:
        assert len(engine.tokenize("abc")) >= 3
        with pytest.raises(InvalidArgument, match=r"cannot be tokenized; \w+::at"):
            engine.tokenize("\N{CJK UNIFIED IDEOGRAPH-4E16}")
        assert len(engine.tokenize("abc")) >= 3


def test_the_extension_exports_its_entry_alone() -> None:
    """What it instantiates of the C++ library must not be found by other libraries."""
    command = ["nm", "--dynamic", "--defined-only", "--format=posix", _core.__file__]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["PyInit__core"]
