"""The vocabulary of a GGUF file, read with llama-cpp-python."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api

SPECIAL = b"\xff"
"""llguidance's mark before the name of a token without text."""


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _no_log(_level: Any, _text: Any, _data: Any) -> None:
    pass


@dataclass
class Vocabulary:
    """A vocabulary, and llama.cpp's pointer to it.

    Args:
        path: a GGUF file. Only its header is read.
    """

    path: Path
    model: Any = field(init=False, repr=False)
    pointer: Any = field(init=False, repr=False)
    pieces: list[bytes] = field(init=False, repr=False)
    ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        api.llama_log_set(_no_log, ctypes.c_void_p(0))
        options = api.llama_model_default_params()
        options.vocab_only = True
        self.model = api.llama_model_load_from_file(str(self.path).encode(), options)
        self.pointer = api.llama_model_get_vocab(self.model)
        n_tokens = api.llama_vocab_n_tokens(self.pointer)
        self.pieces = [self._piece(token) for token in range(n_tokens)]
        self.ends = [t for t in range(n_tokens) if api.llama_vocab_is_eog(self.pointer, t)]

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, without BOS."""
        encoded = text.encode()
        room = (api.llama_token * (len(encoded) + 8))()
        n = api.llama_tokenize(self.pointer, encoded, len(encoded), room, len(room), False, False)
        return list(room[:n])

    def _piece(self, token: int) -> bytes:
        plain = self._text(token, special=False)
        return plain or SPECIAL + self._text(token, special=True)

    def _text(self, token: int, *, special: bool) -> bytes:
        room = ctypes.create_string_buffer(1024)
        n = api.llama_token_to_piece(self.pointer, token, room, len(room), 0, special)
        return room.raw[: max(n, 0)]
