"""vLLM's endpoints about tokens: lm-evaluation-harness needs no other tokenizer with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.server.interfaces.call import Body

if TYPE_CHECKING:
    from specbranch_cpp.engine import Engine

__all__ = ["PromptFields", "tokenized", "tokenizer_info"]


class PromptFields(Body):
    """The body of ``/tokenize`` with vLLM's names."""

    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool = False


def tokenized(engine: Engine, fields: PromptFields) -> dict[str, Any]:
    """``POST /tokenize``."""
    tokens = engine.tokenize(fields.prompt, add_bos=fields.add_special_tokens, special=True)
    strings = None
    if fields.return_token_strs:
        strings = [engine.detokenize([token], special=True) for token in tokens]
    return {
        "count": len(tokens),
        "max_model_len": engine.n_ctx,
        "tokens": tokens,
        "token_strs": strings,
    }


def tokenizer_info(engine: Engine) -> dict[str, Any]:
    """``GET /tokenizer_info``: what a client must know to prepare prompts."""

    def name(token: int | None) -> str | None:
        return None if token is None else engine.detokenize([token], special=True)

    return {
        "tokenizer_class": "llama.cpp",
        "model_max_length": engine.n_ctx,
        "bos_token": name(engine.bos_token),
        "eos_token": name(engine.eos_token),
        "pad_token": None,
        "chat_template": engine.chat_template,
    }
