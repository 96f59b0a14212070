"""The descriptions of the served models."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.words import in_unicode
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.prompts import format_of

if TYPE_CHECKING:
    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.embeddings.model import EmbeddingModel

__all__ = ["ModelCard", "embedding_entry"]


def _answers(engine: Engine) -> dict[str, str | None]:
    """How the model writes tool calls and thoughts. ``None``: not known, or no chat template.

    A wrong template is an error of the first chat.
    """
    tool_format = reasoning = None
    if engine.chat_template is not None:
        with contextlib.suppress(InvalidArgument):
            style = format_of(engine).style(has_tools=True)
            tool_format, reasoning = style.tool_format, style.reasoning
    return {"tool_format": tool_format, "reasoning": reasoning}


class ModelCard:
    """The model that the server serves.

    Attributes:
        id: its name.
        created: when the server began to serve it, in seconds since 1970.
        reasoning: how the model marks its thoughts. ``None``: not at all, as far as is known.

    Args:
        engine: the engine with the model.
        alias: the name of the model. ``None``: ``general.name`` of the file, or the name of the
            file.
    """

    def __init__(self, engine: Engine, alias: str | None) -> None:
        target, *draft = engine.model_paths
        name = alias or engine.metadata.get("general.name") or Path(target).stem
        self.id = in_unicode(name)
        self.created = int(time.time())
        placement = engine.placement
        answers = _answers(engine)
        self.reasoning = answers["reasoning"]
        self._meta = {
            "n_ctx": engine.n_ctx,
            "n_vocab": engine.vocab_size,
            "architecture": engine.metadata.get("general.architecture"),
            "draft": in_unicode(Path(draft[0]).stem) if draft and engine.has_draft else None,
            "lookup": engine.lookup,
            "mode": engine.mode,
            "placement": None if placement is None else asdict(placement),
            "has_chat_template": engine.chat_template is not None,
            **answers,
        }

    @property
    def entry(self) -> dict[str, Any]:
        """OpenAI's model object, with our own fields in ``meta``."""
        return _entry(self.id, self.created, self._meta)


def embedding_entry(model: EmbeddingModel) -> dict[str, Any]:
    """OpenAI's model object for a model of embeddings."""
    meta = {
        "architecture": model.architecture,
        "n_ctx": model.n_ctx,
        "n_embd": model.n_dimensions,
        "pooling": model.pooling,
    }
    return _entry(model.id, model.created, meta)


def _entry(name: str, created: int, meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "specbranch_cpp",
        "meta": meta,
    }
