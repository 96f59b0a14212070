"""A text that waits for the test."""

from __future__ import annotations

import threading
from typing import Any

_N_TOKENS = 40


class Gate:
    """A logits processor that holds its text until the block is left.

    So the text cannot end before the test has done what it should end by. Some tokens come before:
    the text is held after 40, drafted ones among them, so after more than 20 that a reader gets.
    """

    N_MOST = _N_TOKENS + 16
    """More tokens than a text can have that was held and cancelled."""

    def __init__(self) -> None:
        self._n_first: int | None = None
        self.reached = threading.Event()
        self._released = threading.Event()

    def __call__(self, ids: Any, scores: Any) -> Any:
        if self._n_first is None:
            self._n_first = len(ids)
        if len(ids) >= self._n_first + _N_TOKENS:
            self.reached.set()
            assert self._released.wait(120)
        return scores

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
