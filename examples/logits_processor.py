"""Functions that take part in the choice of each token, in every mode without changing the text."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from specbranch_cpp import Engine, TokenMask, demo

PROMPT = "def main():\n"

models = sys.argv[1:3] or demo.pair()
engine = Engine(*models, n_ctx=2048)
PIECES = [engine.token_bytes(token) for token in range(engine.vocab_size)]


def no_repetition(input_ids: Any, scores: Any) -> Any:
    """A logits processor, as in llama-cpp-python: halves the chance of the last eight tokens."""
    scores[input_ids[-8:]] -= np.log(2.0)
    return scores


class ShortLines(TokenMask):
    """A mask needs no logits, so the engine evaluates it while the target computes."""

    ends = np.array([b"\n" in piece for piece in PIECES])

    def mask(self, input_ids: Any) -> Any:
        line = b"".join(PIECES[token] for token in input_ids[-40:]).rpartition(b"\n")[2]
        return self.ends if len(line) > 24 else np.ones(engine.vocab_size, bool)


def five_lines(input_ids: Any, _logits: Any) -> bool:
    """A stopping criterion."""
    return sum(PIECES[token].count(b"\n") for token in input_ids) > 5


with engine:
    texts = set()
    for mode in ("autoregressive", "speculative", "specbranch"):
        done = engine.complete(
            PROMPT,
            max_tokens=96,
            mode=mode,
            logits_processor=[no_repetition, ShortLines()],
            stopping_criteria=five_lines,
        )
        texts.add(done.text)
        stats = done.stats
        print(
            f"{mode:<15}{stats.mean_accepted_length:5.2f} tokens a step; "
            f"{stats.n_processor_calls} calls took {stats.processor_ms:.1f} ms, the target waited "
            f"{stats.processor_wait_ms:.1f} ms"
        )
    print(PROMPT + done.text)
    print("equal texts:", len(texts) == 1)
