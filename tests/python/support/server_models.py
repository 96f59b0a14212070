"""What the tests of the server with real models share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPLATE = """{% for message in messages %}# {{ message.role }}: {{ message.content }}
{% endfor %}{% if add_generation_prompt %}# assistant:
{% endif %}"""
PROMPT = "def fibonacci(n):\n"
MESSAGES: list[Any] = [{"role": "user", "content": "Sort a list of numbers."}]
SAMPLING: dict[str, Any] = {"max_tokens": 40, "temperature": 0.7, "seed": 11}


@contextlib.contextmanager
def chatting(pair: tuple[Path, Path], n_ctx: int = 1024) -> Iterator[Engine]:
    """The models with a template for chats."""
    options: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1}
    with Engine(*pair, n_ctx=n_ctx, chat_template=TEMPLATE, **options) as engine:
        yield engine


def completion(engine: Engine, prompt: str, **options: Any) -> Any:
    return engine.create_completion(prompt, **options)


def chat(engine: Engine, messages: list[Any], **options: Any) -> Any:
    return engine.create_chat_completion(messages, **options)
