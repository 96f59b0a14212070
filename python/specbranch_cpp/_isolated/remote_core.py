"""The core of an engine in another process."""

from __future__ import annotations

import threading
import weakref
from array import array
from typing import TYPE_CHECKING, Any

from specbranch_cpp._isolated.process import CLOSED
from specbranch_cpp._isolated.recorded_request import RecordedRequest
from specbranch_cpp._isolated.remote_generation import RemoteGeneration
from specbranch_cpp.errors import EngineClosed, EngineDied

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp._isolated.process import EngineProcess

__all__ = ["FACTS", "RemoteCore"]

FACTS = (
    "n_vocab", "n_ctx", "n_ctx_total", "n_parallel", "n_branches", "n_feature_layers", "n_embd",
    "longest_token", "bos", "eos", "fim", "metadata", "adapters", "exact_rows", "notes",
    "warnings", "stats", "has_draft", "can_speculate",
)  # fmt: skip
"""What the process says of its core when the models are loaded."""
_CLOSE_S = 120.0  # a forward pass takes less, so the process hangs


class RemoteCore:
    """The same as `_core.Engine`. Dropping it ends the process.

    What does not change is asked for once. What changes comes with the end of each generation.

    Args:
        process: the process, which has loaded the models.
        facts: what the process says of them.
    """

    n_vocab: int
    n_ctx: int
    n_ctx_total: int
    n_parallel: int
    n_branches: int
    n_feature_layers: int
    n_embd: int
    longest_token: int
    bos: int | None
    eos: int | None
    fim: tuple[int, int, int] | None
    metadata: dict[str, str]
    adapters: list[Any]
    exact_rows: Any
    notes: list[str]
    warnings: list[str]
    stats: Any
    has_draft: bool
    can_speculate: bool

    def __init__(self, process: EngineProcess, facts: dict[str, Any]) -> None:
        self.__dict__.update({name: facts[name] for name in FACTS})
        self._process = process
        self._lock = threading.RLock()  # a signal handler may close while this thread closes
        self._is_closing = False
        self._pieces: dict[bool, list[bytes]] = {}
        self._ends: frozenset[int] | None = None
        self._last_profile: list[Any] | None = None
        weakref.finalize(self, process.kill).atexit = False  # `Engine.close` comes first

    @property
    def process_id(self) -> int:
        """The number of the process."""
        return self._process.process_id

    @property
    def closed(self) -> bool:
        return self._process.is_over

    def on_death(self, listener: Callable[[EngineDied], object]) -> None:
        """See `EngineProcess.on_death`."""
        self._process.on_death(listener)

    @property
    def profile(self) -> Any:
        return self._profile()[1]

    def key(self) -> dict[str, Any]:
        """What must be equal for a profile to be used: see `Loaded.key`."""
        found: dict[str, Any] = self._profile()[0]
        return found

    def _profile(self) -> list[Any]:
        if self._last_profile is not None:
            return self._last_profile
        found: list[Any] = self._process.call("profile")
        return found

    def new_request(self) -> RecordedRequest:
        """A request for `generate`."""
        return RecordedRequest()

    def generate(self, request: RecordedRequest) -> RemoteGeneration:
        return RemoteGeneration(self._process, request, self._update)

    def _update(self, last_words: dict[str, Any]) -> None:
        self.stats = last_words["stats"]
        self.has_draft = last_words["has_draft"]
        self.can_speculate = last_words["can_speculate"]

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        tokens = array("i")
        tokens.frombytes(self._process.call("tokenize", text, add_special, parse_special))
        return tokens.tolist()

    def set_prompt(self, request: RecordedRequest, text: bytes) -> None:
        """Makes a text the prompt."""
        request.prompt = self.tokenize(text, add_special=True, parse_special=True)

    def set_prediction(self, request: RecordedRequest, text: bytes) -> None:
        """Makes a text the prediction of the answer."""
        request.prediction = self.tokenize(text, add_special=False, parse_special=False)

    def detokenize(self, tokens: list[int], *, special: bool) -> bytes:
        if len(tokens) == 1 and 0 <= tokens[0] < self.n_vocab:
            return self._pieces_of(special=special)[tokens[0]]
        found: bytes = self._process.call("detokenize", tokens, special)
        return found

    def is_end(self, token: int) -> bool:
        self._process.check()
        if self._ends is None:
            self._ends = frozenset(self._process.call("ends"))
        return token in self._ends

    @property
    def is_inside(self) -> bool:
        """Whether the current thread brings the answers of the process; `close` does not wait."""
        return self._process.is_inside

    def close(self) -> None:
        if self.is_inside:  # another thread may hold the lock, and wait for this one
            self._process.close(EngineClosed(CLOSED))
            return
        with self._lock:
            if self.closed or self._is_closing:
                return
            self._is_closing = True
            try:
                self.stats, *self._last_profile = self._process.call("close", limit_s=_CLOSE_S)
                self._process.close(EngineClosed(CLOSED))
            except EngineDied:
                return
            finally:
                self._is_closing = False

    def _pieces_of(self, *, special: bool) -> list[bytes]:
        """The bytes of all tokens. Programs ask for them one by one."""
        self._process.check()
        if special not in self._pieces:
            self._pieces[special] = self._process.call("pieces", special)
        return self._pieces[special]
