"""The places of the texts that run at once, as llama-server shows its slots.

No text is in them: neither a prompt nor what was generated, no stop string and no grammar.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specbranch_cpp import _core
    from specbranch_cpp._engine.running_texts import RunningText
    from specbranch_cpp.engine import Engine

__all__ = ["Slot", "Slots"]

# Fields of a request whose names and values are those of llama-server.
_SAME = (
    "seed", "temperature", "dynatemp_range", "dynatemp_exponent", "top_k", "top_p", "min_p",
    "top_n_sigma", "xtc_probability", "xtc_threshold", "typical_p", "repeat_last_n",
    "repeat_penalty", "presence_penalty", "frequency_penalty", "dry_multiplier", "dry_base",
    "dry_allowed_length", "dry_penalty_last_n", "mirostat", "mirostat_tau", "mirostat_eta",
    "adaptive_target", "adaptive_decay", "min_keep", "min_tokens", "mode",
)  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """A place and the text that runs there. ``None``: the place is free."""

    id: int
    text: RunningText | None

    @property
    def n_prompt(self) -> int:
        """Tokens of the prompt."""
        return 0 if self.text is None else self.text.generation.n_prompt

    @property
    def n_prefilled(self) -> int:
        """Tokens of the prompt that the target has read."""
        return 0 if self.text is None else self.text.generation.n_prefilled

    @property
    def n_decoded(self) -> int:
        """Tokens of the text so far."""
        return 0 if self.text is None else self.text.generation.n_read


class Slots:
    """As many slots as texts can run at once.

    The engine runs texts in the order of its queue, so the first of them that have not ended are
    those that run. A text keeps its slot. A slot is given when somebody looks, which is enough.

    *Thread safety*: any thread may call every method.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._numbers: dict[int, int] = {}  # of the texts, by slot

    @property
    def n_slots(self) -> int:
        """The number of texts that can run at once."""
        return self._engine.n_parallel

    def now(self) -> list[Slot]:
        """All slots, in the order of their ids."""
        n_slots = self.n_slots
        with self._lock:
            texts = {text.number: text for text in self._engine._shared.texts.now()}
            self._numbers = {at: one for at, one in self._numbers.items() if one in texts}
            free = [at for at in range(n_slots) if at not in self._numbers]
            waiting = [one for one in texts if one not in self._numbers.values()]
            # Two threads may count their texts in another order than they queued them.
            waiting.sort(key=lambda one: texts[one].generation.n_prefilled == 0)
            self._numbers.update(zip(free, waiting, strict=False))
            given = {at: texts[number] for at, number in self._numbers.items()}
        return [Slot(at, given.get(at)) for at in range(n_slots)]

    def entries(self) -> list[dict[str, Any]]:
        """The reply of ``GET /slots``, in the shape of llama-server."""
        return [self._entry(slot) for slot in self.now()]

    def _entry(self, slot: Slot) -> dict[str, Any]:
        text = slot.text
        request = None if text is None else text.request
        n_most = -1 if request is None else max(-1, request.max_tokens)
        speculates = self._engine.can_speculate
        return {
            "id": slot.id,
            "id_task": -1 if text is None else text.number,
            "n_ctx": self._engine.n_ctx,
            "speculative": speculates and (request is None or request.mode != "autoregressive"),
            "is_processing": text is not None,
            "n_prompt_tokens": slot.n_prompt,
            "n_prompt_tokens_processed": slot.n_prefilled,
            "params": {} if request is None else _params(request, n_most),
            "next_token": [
                {
                    "has_next_token": text is not None,
                    "n_remain": -1 if n_most < 0 else max(0, n_most - slot.n_decoded),
                    "n_decoded": slot.n_decoded,
                }
            ],
        }


def _params(request: _core.Request, n_most: int) -> dict[str, Any]:
    return {
        "n_predict": n_most,
        "max_tokens": n_most,
        **{name: getattr(request, name) for name in _SAME},
        "samplers": request.samplers or [],
        "n_probs": max(0, request.logprobs),
        "lora": [{"id": index, "scale": scale} for index, scale in request.adapters or ()],
        "speculative.n_max": request.max_draft,
    }
