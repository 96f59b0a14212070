"""The model calls a function: a grammar makes sure that its arguments fit."""

from __future__ import annotations

import json
import sys

from specbranch_cpp import Engine, demo

TOOL = {
    "type": "function",
    "function": {
        "name": "run_tests",
        "description": "Runs the tests of a part of the project.",
        "parameters": {
            "type": "object",
            "properties": {
                "part": {"enum": ["core", "llama", "python"]},
                "slow": {"type": "boolean"},
            },
            "required": ["part", "slow"],
        },
    },
}


def run_tests(part: str, slow: bool) -> str:
    return f"all tests of {part} passed{' (slow ones too)' if slow else ''}"


models = sys.argv[1:3] or demo.pair()
messages = [{"role": "user", "content": "Do the tests of the core pass?"}]
with Engine(*models, n_ctx=2048) as engine:
    answer = engine.create_chat_completion(
        messages=messages,
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "run_tests"}},
        max_tokens=100,
        seed=1,
    )
    message = answer["choices"][0]["message"]
    messages.append(message)
    for call in message["tool_calls"]:
        arguments = json.loads(call["function"]["arguments"])
        print("called with", arguments)
        messages.append(
            {"role": "tool", "tool_call_id": call["id"], "content": run_tests(**arguments)}
        )
    answer = engine.create_chat_completion(messages=messages, tools=[TOOL], max_tokens=40, seed=1)
    print(answer["choices"][0]["message"]["content"])
