"""llama-cpp-python, without speculation or with its prompt lookup; a backend of `_child.py`.

Two defaults are changed: flash attention is on, as in the other tools; with a draft, ``logits_all``
is on, because without it prompts longer than ``n_batch`` fail (0.3.36).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import llama_cpp
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

if TYPE_CHECKING:
    from collections.abc import Mapping


class CountingLookup(LlamaPromptLookupDecoding):
    """Prompt lookup that counts its verified and accepted tokens."""

    def __init__(self, num_pred_tokens: int, n_ctx: int) -> None:
        super().__init__(num_pred_tokens=num_pred_tokens)
        self.n_drafted = 0
        self.n_accepted = 0
        self._n_ctx = n_ctx
        self._length = 0  # length of the text that the last draft continues
        self._draft: list[int] = []

    def __call__(self, input_ids: Any, /, **kwargs: Any) -> Any:
        self.settle([int(token) for token in input_ids])
        draft = super().__call__(input_ids, **kwargs)
        self._length = len(input_ids)
        # Llama.generate drops tokens that do not fit into the context.
        self._draft = [int(token) for token in draft[: max(0, self._n_ctx - self._length)]]
        self.n_drafted += len(self._draft)
        return draft

    def settle(self, text: list[int]) -> None:
        """Counts the tokens of the last draft that are in the text: prompt and generated tokens."""
        for drafted, chosen in zip(self._draft, text[self._length :], strict=False):
            if drafted != chosen:
                break
            self.n_accepted += 1
        self._draft = []


GREEDY = {"top_k": 1, "top_p": 1.0, "min_p": 0.0, "temp": 0.0}


class Backend:
    def __init__(self, pair: dict[str, Any], *, lookup: bool) -> None:
        self._pair = pair
        self._lookup = lookup
        self._llama: Any = None
        self._drafts: bool | None = None  # whether the open model drafts
        self._open(drafts=False)

    def describe(self) -> dict[str, Any]:
        return {
            "version": f"llama-cpp-python {llama_cpp.__version__}",
            "system_info": llama_cpp.llama_print_system_info().decode(),
            "draft_lengths": [0, 2, 5, 10] if self._lookup else [0],
        }

    def tokenize(self, text: str) -> list[int]:
        tokens: list[int] = self._llama.tokenize(text.encode(), special=True)
        return tokens

    def detokenize(self, tokens: list[int]) -> str:
        text: bytes = self._llama.detokenize(tokens)
        return text.decode(errors="replace")

    def set_seed(self, seed: int) -> None:
        self._llama.set_seed(seed)

    def generate(
        self,
        tokens: list[int],
        max_tokens: int,
        draft_length: int,
        sampling: Mapping[str, float] = GREEDY,
    ) -> dict[str, Any]:
        if (draft_length > 0) != self._drafts:
            self._open(drafts=draft_length > 0)
        llama = self._llama
        lookup = CountingLookup(draft_length, llama.n_ctx()) if draft_length else None
        llama.draft_model = lookup
        llama.reset()  # reuse no KV cells of an earlier prompt
        vocab = llama_cpp.llama_model_get_vocab(llama.model)
        found: list[int] = []
        begin = time.perf_counter()
        times = []
        chosen = llama.generate(tokens, **sampling)
        for token in chosen:
            times.append(time.perf_counter())
            if llama_cpp.llama_vocab_is_eog(vocab, token):
                break
            found.append(int(token))
            if len(found) == max_tokens:
                break
        chosen.close()
        if lookup is not None:
            lookup.settle(tokens + found)
        return {
            "tokens": found,
            "prefill_ms": 1000 * (times[0] - begin),
            "decode_ms": 1000 * (times[-1] - times[0]),
            "n_drafted": lookup.n_drafted if lookup else 0,
            "n_accepted": lookup.n_accepted if lookup else 0,
        }

    def _open(self, *, drafts: bool) -> None:
        if self._llama is not None:
            self._llama.close()
        self._llama = self._drafts = None
        n_ctx = self._pair["n_ctx"]
        self._llama = llama_cpp.Llama(
            self._pair["target"],
            n_ctx=n_ctx,
            n_threads=self._pair["n_threads"],
            n_threads_batch=self._pair["n_threads"],
            n_gpu_layers=self._pair["n_gpu_layers"],
            flash_attn=True,
            draft_model=CountingLookup(1, n_ctx) if drafts else None,
            logits_all=drafts,
            verbose=False,
        )
        self._drafts = drafts


def open_backend(pair: dict[str, Any], draft_length: int, kind: str) -> Backend:  # noqa: ARG001
    """``kind``: ``"plain"`` or ``"lookup"``."""
    return Backend(pair, lookup=kind == "lookup")
