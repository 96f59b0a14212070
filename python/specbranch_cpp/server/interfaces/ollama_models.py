"""What Ollama's clients ask about the model: ``/api/tags``, ``/api/ps`` and others.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core

if TYPE_CHECKING:
    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.model_card import ModelCard

__all__ = ["loaded_models", "shown", "tags", "version"]

_API_VERSION = "0.13.5"
"""The version of Ollama whose interface this is: clients refuse versions that are too old."""

_NEVER = "2318-03-04T05:06:07Z"  # a model that stays has a date like this
_NUMBERS = ("alignment", "file_type", "parameter_count", "quantization_version")
_TEXTS = ("tokenizer.ggml.model", "tokenizer.ggml.pre")


def version() -> dict[str, Any]:
    """``GET /api/version``."""
    return {"version": _API_VERSION, "specbranch_cpp": _core.__version__}


def tags(engine: Engine, model: ModelCard) -> dict[str, Any]:
    """``GET /api/tags``: the one model of this server."""
    at = datetime.fromtimestamp(model.created, timezone.utc).isoformat().replace("+00:00", "Z")
    return {"models": [{**_entry(engine, model), "modified_at": at}]}


def loaded_models(engine: Engine, model: ModelCard) -> dict[str, Any]:
    """``GET /api/ps``: the same model, which is always loaded."""
    placement = engine.placement
    on_gpus = 0
    if placement is not None:
        on_gpus = sum(n for name, n in placement.target.memory.items() if name != "CPU")
    added = {"expires_at": _NEVER, "size_vram": on_gpus, "context_length": engine.n_ctx}
    return {"models": [{**_entry(engine, model), **added}]}


def shown(engine: Engine, model: ModelCard) -> dict[str, Any]:
    """``POST /api/show``."""
    can = ["completion"]
    template = engine.chat_template or ""
    if "tools" in template:
        can.append("tools")
    if engine.fim_tokens is not None:
        can.append("insert")
    if model.reasoning is not None:
        can.append("thinking")
    return {
        "modelfile": "",
        "parameters": f"num_ctx {engine.n_ctx}",
        "template": template,
        "details": _details(engine),
        "model_info": _model_info(engine),
        "capabilities": can,
    }


def _model_info(engine: Engine) -> dict[str, Any]:
    """The metadata. Clients fill the context that it names, so that is the one of this server."""
    info: dict[str, Any] = {
        name: _typed(name, value)
        for name, value in engine.metadata.items()
        if name != "tokenizer.chat_template"
    }
    architecture = engine.metadata.get("general.architecture", "")
    return info | {f"{architecture}.context_length": engine.n_ctx}


def _entry(engine: Engine, model: ModelCard) -> dict[str, Any]:
    file = Path(engine.model_paths[0])
    try:
        size = file.stat().st_size
    except OSError:  # it was moved since
        size = 0
    return {
        "name": model.id,
        "model": model.id,
        "size": size,
        # Clients show its begin. The hash of a large file would take seconds.
        "digest": hashlib.sha256(os.fsencode(f"{file.name} {size}")).hexdigest(),
        "details": _details(engine),
    }


def _details(engine: Engine) -> dict[str, Any]:
    architecture = engine.metadata.get("general.architecture", "")
    return {
        "parent_model": "",
        "format": "gguf",
        "family": architecture,
        "families": [architecture],
        "parameter_size": engine.metadata.get("general.size_label", ""),
        "quantization_level": "",
    }


def _typed(name: str, text: str) -> str | int | float | bool:
    """A value of the metadata as a number or a truth value, unless it is a name."""
    kind, _, rest = name.partition(".")
    if name in _TEXTS or (kind == "general" and rest not in _NUMBERS):
        return text
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+([eE][-+]?\d+)?", text):
        return float(text)
    return text
