"""llama.cpp's grammar sampler, as the engine calls it."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as api
import numpy as np

if TYPE_CHECKING:
    from benchmarks.grammars.vocabulary import Vocabulary

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class GbnfMatcher:
    """A text under a grammar.

    Raises:
        ValueError: llama.cpp refuses the grammar.
    """

    def __init__(self, vocabulary: Vocabulary, grammar: str, pointer: Any = None) -> None:
        self._vocabulary = vocabulary
        self._candidates: Any = None
        self._untouched = b""
        self._pointer = pointer or api.llama_sampler_init_grammar(
            vocabulary.pointer, grammar.encode(), b"root"
        )
        if not self._pointer:
            raise ValueError("llama.cpp refuses the grammar")

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            api.llama_sampler_free(self._pointer)

    def copy(self) -> GbnfMatcher:
        return GbnfMatcher(self._vocabulary, "", api.llama_sampler_clone(self._pointer))

    def n_allowed(self, tokens: list[int]) -> int:
        """How many of these tokens may follow, one after the other."""
        if len(tokens) == 1:
            return int(self._filtered(tokens)[0])
        trial = self.copy()
        for index, token in enumerate(tokens):
            if not trial.accept(token):
                return index
        return len(tokens)

    def accept(self, token: int) -> bool:
        if not self._filtered([token])[0]:
            return False
        if token not in self._vocabulary.ends:
            api.llama_sampler_accept(self._pointer, token)
        return True

    def compute_mask(self) -> bool:
        """Filters the whole vocabulary. `prepare` must come before."""
        self._apply(self._candidates)
        return True

    def allowed(self) -> list[int]:
        """The tokens that may follow."""
        items = self._apply(self._vocabulary_candidates())
        logits = np.frombuffer(items, dtype=_CANDIDATE)["logit"]
        return [int(token) for token in np.flatnonzero(np.isfinite(logits))]

    @property
    def may_end(self) -> bool:
        return any(self._filtered(self._vocabulary.ends))

    def error(self) -> str:
        return ""

    def prepare(self) -> None:
        """Sets all candidates back, so that `compute_mask` measures the grammar alone."""
        self._vocabulary_candidates()

    def _vocabulary_candidates(self) -> Any:
        """One candidate for each token, made once for a matcher and set back for each use."""
        if self._candidates is None:
            n_tokens = len(self._vocabulary.pieces)
            self._candidates = (api.llama_token_data * n_tokens)()
            fresh = np.frombuffer(self._candidates, dtype=_CANDIDATE)
            fresh["id"] = np.arange(n_tokens)
            self._untouched = bytes(self._candidates)
        ctypes.memmove(self._candidates, self._untouched, len(self._untouched))
        return self._candidates

    def _apply(self, items: Any) -> Any:
        array = api.llama_token_data_array(
            data=ctypes.cast(items, api.llama_token_data_p), size=len(items), selected=-1
        )
        api.llama_sampler_apply(self._pointer, ctypes.byref(array))
        return items

    def _filtered(self, tokens: list[int]) -> list[bool]:
        items = (api.llama_token_data * len(tokens))(
            *(api.llama_token_data(token, 0.0, 0.0) for token in tokens)
        )
        return [not math.isinf(item.logit) for item in self._apply(items)]
