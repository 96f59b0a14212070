"""Names of options that llama.cpp has besides the names in our help texts."""

from __future__ import annotations

__all__ = ["OURS", "our_name"]

OURS = {
    "threads-draft": "draft-threads",
    "spec-draft-threads": "draft-threads",
    "gpu-layers": "n-gpu-layers",
    "gpu-layers-draft": "draft-n-gpu-layers",
    "n-gpu-layers-draft": "draft-n-gpu-layers",
    "spec-draft-ngl": "draft-n-gpu-layers",
    "device-draft": "draft-device",
    "spec-draft-device": "draft-device",
    "draft": "draft-max",
    "draft-n": "draft-max",
    "spec-draft-n-max": "draft-max",
    "spec-draft-p-min": "draft-p-min",
    "spec-draft-model": "model-draft",
    "predict": "n-predict",
    "temperature": "temp",
    "system-prompt": "system",
    "hfr": "hf",
    "hfrd": "hfd",
}
"""Our name of each option, by the other names that llama.cpp has for it, without dashes."""


def our_name(name: str) -> str:
    """The name of an option, without dashes, as our commands declare it."""
    return OURS.get(name, name)
