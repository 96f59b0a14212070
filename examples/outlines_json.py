"""JSON by Outlines, as a mask (`pip install outlines`)."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from outlines_core import Index, Vocabulary
from outlines_core.json_schema import build_regex_from_schema

from specbranch_cpp import Engine, TokenMask, demo

SCHEMA = {
    "type": "object",
    "properties": {
        "language": {"enum": ["Python", "C++", "Rust"]},
        "typed": {"type": "boolean"},
    },
    "required": ["language", "typed"],
}


def vocabulary(engine: Engine) -> Vocabulary:
    """The tokens by their bytes. Several tokens may have the same ones."""
    tokens: dict[bytes, list[int]] = {}
    for token in range(engine.vocab_size):
        if piece := engine.token_bytes(token):
            tokens.setdefault(piece, []).append(token)
    return Vocabulary(engine.eos_token, tokens)


class Outlined(TokenMask):
    """Keeps the state of every prefix, because the engine may go back to an earlier one."""

    def __init__(self, index: Index, vocab_size: int) -> None:
        self.index = index
        self.size = vocab_size
        self.states: dict[bytes, int] = {}

    def mask(self, input_ids: Any) -> Any:
        before = self.states.get(input_ids[:-1].tobytes())
        if before is None:  # the prompt
            state = self.index.get_initial_state()
        else:
            state = self.index.get_next_state(before, int(input_ids[-1]))
        self.states[input_ids.tobytes()] = state
        allowed = np.zeros(self.size, bool)
        allowed[self.index.get_allowed_tokens(state)] = True
        return allowed


models = sys.argv[1:3] or demo.pair()
with Engine(*models, n_ctx=2048) as engine:
    index = Index(build_regex_from_schema(json.dumps(SCHEMA)), vocabulary(engine))
    answers = []
    for mode in ("autoregressive", "specbranch"):
        done = engine.chat(
            "Which language is this project written in? Answer as JSON.",
            max_tokens=200,
            mode=mode,
            logits_processor=Outlined(index, engine.vocab_size),
        )
        answers.append(done.text)
        stats = done.stats
        print(
            f"{mode:<15}{stats.mean_accepted_length:5.2f} tokens a step; masks took "
            f"{stats.processor_ms:.0f} ms, the target waited {stats.processor_wait_ms:.0f} ms"
        )
    print(json.loads(answers[0]))
    print("equal texts:", answers[0] == answers[1])
