"""llguidance through the C interface that its Python wheel exports, as the engine would call it."""

from __future__ import annotations

import ctypes
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.grammars.vocabulary import Vocabulary

_ROOM_FOR_OPTIONS = 1024  # more than LlgConstraintInit needs


class _TokenizerInit(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("vocab_size", ctypes.c_uint32),
        ("tok_eos", ctypes.c_uint32),
        ("token_lens", ctypes.POINTER(ctypes.c_uint32)),
        ("token_bytes", ctypes.c_char_p),
        ("tokenizer_json", ctypes.c_char_p),
        ("tokenize_assumes_string", ctypes.c_bool),
        ("tokenize_fn", ctypes.c_void_p),
        ("use_approximate_greedy_tokenize_fn", ctypes.c_bool),
        ("tokenize_user_data", ctypes.c_void_p),
        ("slices", ctypes.c_void_p),
        ("tok_eos_extra", ctypes.POINTER(ctypes.c_uint32)),
        ("tok_eos_extra_count", ctypes.c_uint32),
    )


def library_path() -> Path:
    """The extension module of the installed wheel."""
    package = importlib.util.find_spec("llguidance")
    if package is None or package.origin is None:
        raise SystemExit("llguidance is not installed")
    return next(Path(package.origin).parent.glob("_lib*.so"))


def load() -> Any:
    """The library with the types of its functions."""
    library = ctypes.CDLL(str(library_path()))
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    for name, result, arguments in (
        ("llg_get_version", text, ()),
        ("llg_new_tokenizer_v2", pointer, (pointer, text, size)),
        ("llg_constraint_init_set_defaults", None, (pointer, pointer)),
        ("llg_new_matcher", pointer, (pointer, text, text)),
        ("llg_clone_matcher", pointer, (pointer,)),
        ("llg_free_matcher", None, (pointer,)),
        ("llg_matcher_get_error", text, (pointer,)),
        ("llg_matcher_compute_mask_into", ctypes.c_int32, (pointer, pointer, size)),
        ("llg_matcher_get_mask_byte_size", size, (pointer,)),
        ("llg_matcher_consume_token", ctypes.c_int32, (pointer, ctypes.c_uint32)),
        ("llg_matcher_validate_tokens", ctypes.c_int32, (pointer, pointer, size)),
        ("llg_matcher_is_accepting", ctypes.c_bool, (pointer,)),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class Tokenizer:
    """The trie of a vocabulary."""

    def __init__(self, library: Any, vocabulary: Vocabulary) -> None:
        self.library = library
        self.n_tokens = len(vocabulary.pieces)
        lengths = (ctypes.c_uint32 * self.n_tokens)(*map(len, vocabulary.pieces))
        first, *others = vocabulary.ends
        ends = (ctypes.c_uint32 * len(others))(*others)
        init = _TokenizerInit(
            struct_size=ctypes.sizeof(_TokenizerInit),
            vocab_size=self.n_tokens,
            tok_eos=first,
            token_lens=lengths,
            token_bytes=b"".join(vocabulary.pieces),
            use_approximate_greedy_tokenize_fn=True,
            tok_eos_extra=ends,
            tok_eos_extra_count=len(others),
        )
        reason = ctypes.create_string_buffer(1000)
        self.pointer = library.llg_new_tokenizer_v2(ctypes.byref(init), reason, len(reason))
        if not self.pointer:
            raise SystemExit(f"llguidance refuses the vocabulary: {reason.value.decode()}")


class Matcher:
    """A text under a grammar.

    Raises:
        ValueError: llguidance refuses the grammar.
    """

    def __init__(self, tokenizer: Tokenizer, kind: str, source: str, pointer: int = 0) -> None:
        self._tokenizer, self._library = tokenizer, tokenizer.library
        self._pointer = pointer or self._made(kind, source)
        self._mask = (ctypes.c_uint32 * ((tokenizer.n_tokens + 31) // 32))()

    def _made(self, kind: str, source: str) -> int:
        options = ctypes.create_string_buffer(_ROOM_FOR_OPTIONS)
        self._library.llg_constraint_init_set_defaults(options, self._tokenizer.pointer)
        made = self._library.llg_new_matcher(options, kind.encode(), source.encode())
        error = self._library.llg_matcher_get_error(made)
        if error is not None:
            self._library.llg_free_matcher(made)
            raise ValueError(error.decode(errors="replace"))
        return int(made)

    def __del__(self) -> None:
        if pointer := getattr(self, "_pointer", 0):
            self._library.llg_free_matcher(pointer)

    def copy(self) -> Matcher:
        return Matcher(self._tokenizer, "", "", self._library.llg_clone_matcher(self._pointer))

    def n_allowed(self, tokens: list[int]) -> int:
        """How many of these tokens may follow, one after the other."""
        listed = (ctypes.c_uint32 * len(tokens))(*tokens)
        return int(self._library.llg_matcher_validate_tokens(self._pointer, listed, len(tokens)))

    def accept(self, token: int) -> bool:
        return bool(self._library.llg_matcher_consume_token(self._pointer, token) == 0)

    def prepare(self) -> None:
        """Nothing: the mask is written anew."""

    def compute_mask(self) -> bool:
        size = ctypes.sizeof(self._mask)
        return bool(
            self._library.llg_matcher_compute_mask_into(self._pointer, self._mask, size) == 0
        )

    def allowed(self) -> list[int]:
        """The tokens that may follow."""
        self.compute_mask()
        bits = np.unpackbits(np.frombuffer(bytes(self._mask), dtype=np.uint8), bitorder="little")
        return [int(token) for token in np.flatnonzero(bits[: self._tokenizer.n_tokens])]

    @property
    def may_end(self) -> bool:
        return bool(self._library.llg_matcher_is_accepting(self._pointer))

    def error(self) -> str:
        return (self._library.llg_matcher_get_error(self._pointer) or b"").decode(errors="replace")


def schema_source(schema: Any, *, lenient: bool) -> str:
    """A schema as llguidance gets it, with at most one space between the parts."""
    if not isinstance(schema, dict):
        schema = {"allOf": [schema]}
    options = {"whitespace_pattern": " ", "lenient": lenient}
    return json.dumps({**schema, "x-guidance": options}, ensure_ascii=False)
