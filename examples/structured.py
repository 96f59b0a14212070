"""An answer that is JSON of a given shape, by a grammar: the model cannot say anything else."""

from __future__ import annotations

import json
import sys

from specbranch_cpp import Engine, demo

SCHEMA = {
    "type": "object",
    "properties": {
        "language": {"enum": ["Python", "C++", "Rust"]},
        "typed": {"type": "boolean"},
        "reason": {"type": "string", "maxLength": 40},
    },
    "required": ["language", "typed", "reason"],
}

models = sys.argv[1:3] or demo.pair()
with Engine(*models, n_ctx=2048) as engine:
    answer = engine.create_chat_completion(
        messages=[{"role": "user", "content": "Which language is this project written in?"}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
        max_tokens=200,
        seed=1,
    )
    print(json.loads(answer["choices"][0]["message"]["content"]))
