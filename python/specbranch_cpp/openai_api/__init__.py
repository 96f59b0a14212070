"""llama-cpp-python's two calls, over an engine. See `Engine.create_completion`."""

from __future__ import annotations

from specbranch_cpp.openai_api.chat_completions import ChatCall
from specbranch_cpp.openai_api.completions import CompletionCall
from specbranch_cpp.openai_api.streams import Stream

__all__ = ["ChatCall", "CompletionCall", "Stream"]
