"""Several callers of one engine in an event loop: they wait their turn, and one leaves early."""

from __future__ import annotations

import asyncio
import sys

from specbranch_cpp import AsyncEngine, demo

PROMPTS = ("def add(a, b):", "class Stack:", "import json\n", "for line in")


async def ask(engine: AsyncEngine, prompt: str) -> str:
    done = await engine.complete(prompt, max_tokens=32, temperature=0.5, seed=7)
    return f"{prompt!r}: {done.text!r}"


async def leave_early(engine: AsyncEngine) -> str:
    text = ""
    async with engine.generate("while True:", max_tokens=500) as generation:
        async for chunk in generation:
            text += chunk.text
            if len(text) > 20:
                break  # leaving the block stops the work
    return f"left after {len(text)} characters"


async def main() -> None:
    async with AsyncEngine(*(sys.argv[1:3] or demo.pair()), n_ctx=2048) as engine:
        answers = await asyncio.gather(*(ask(engine, p) for p in PROMPTS), leave_early(engine))
    print("\n".join(answers))


asyncio.run(main())
