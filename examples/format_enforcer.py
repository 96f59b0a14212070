"""JSON by lm-format-enforcer, as a mask (`pip install lm-format-enforcer`)."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from lmformatenforcer import JsonSchemaParser, TokenEnforcer, TokenEnforcerTokenizerData

from specbranch_cpp import Engine, TokenMask, demo

SCHEMA = {
    "type": "object",
    "properties": {
        "language": {"enum": ["Python", "C++", "Rust"]},
        "typed": {"type": "boolean"},
    },
    "required": ["language", "typed"],
}


def tokenizer_data(engine: Engine) -> TokenEnforcerTokenizerData:
    """What lm-format-enforcer wants to know of a vocabulary; use it for all texts."""
    words = []
    for token in range(engine.vocab_size):
        text = engine.token_bytes(token).decode(errors="replace")
        if text:
            words.append((token, text, False))
    return TokenEnforcerTokenizerData(
        words, engine.detokenize, engine.eos_token, False, engine.vocab_size
    )


class Enforced(TokenMask):
    """lm-format-enforcer keeps the state of every prefix, so it may go back to an earlier one."""

    def __init__(self, data: TokenEnforcerTokenizerData, schema: dict[str, Any]) -> None:
        self.enforcer = TokenEnforcer(data, JsonSchemaParser(schema))
        self.size = data.vocab_size

    def mask(self, input_ids: Any) -> Any:
        allowed = np.zeros(self.size, bool)
        allowed[self.enforcer.get_allowed_tokens(input_ids.tolist()).allowed_tokens] = True
        return allowed


models = sys.argv[1:3] or demo.pair()
with Engine(*models, n_ctx=2048) as engine:
    data = tokenizer_data(engine)
    answers = []
    for mode in ("autoregressive", "specbranch"):
        done = engine.chat(
            "Which language is this project written in? Answer as JSON.",
            max_tokens=200,
            mode=mode,
            logits_processor=Enforced(data, SCHEMA),
        )
        answers.append(done.text)
        stats = done.stats
        print(
            f"{mode:<15}{stats.mean_accepted_length:5.2f} tokens a step; masks took "
            f"{stats.processor_ms:.0f} ms, the target waited {stats.processor_wait_ms:.0f} ms"
        )
    print(json.loads(answers[0]))
    print("equal texts:", answers[0] == answers[1])
