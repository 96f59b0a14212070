"""Ollama's store: manifests with names, and blobs with digests."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.files import from_json, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["blobs"]

_REGISTRY = "registry.ollama.ai"
_LIBRARY = "library"
_LARGEST = 1 << 20  # bytes of a manifest
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_MEDIA = "application/vnd.ollama.image."
_GGUF_LAYERS = ("model", "adapter", "projector")


def blobs(root: Path, object_to: Callable[[Path, str], None]) -> Iterator[tuple[Path, str]]:
    """The GGUF files of all manifests, and the name of each, such as ``qwen2.5-coder:1.5b``.

    Args:
        root: the folder that contains ``manifests`` and ``blobs``.
        object_to: called with the path of a manifest that cannot be read, and the reason.
    """
    folder = root / "manifests"

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            object_to(Path(error.filename), error.strerror or str(error))

    manifests = [
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=failed)
        for name in names
        if not name.startswith(".")
    ]
    for manifest in sorted(manifests):
        try:
            digests = _digests(manifest)
        except OSError as error:
            object_to(manifest, error.strerror or str(error))
            continue
        except ValueError as error:
            object_to(manifest, f"this manifest is damaged: {error}")
            continue
        for digest in digests:
            name = _name(manifest.relative_to(folder).parts)
            yield root / "blobs" / f"sha256-{digest}", name


def _name(parts: tuple[str, ...]) -> str:
    *middle, tag = parts
    if middle[:1] == [_REGISTRY]:
        middle = middle[1:]
        if middle[:1] == [_LIBRARY]:
            middle = middle[1:]
    return f"{'/'.join(middle)}:{tag}"


def _digests(manifest: Path) -> list[str]:
    """The digests of the GGUF files of a manifest.

    Raises:
        ValueError: the manifest is damaged.
        OSError: it cannot be read.
    """
    content: Any = from_json(read_file(manifest, _LARGEST))
    layers = content.get("layers") if isinstance(content, dict) else None
    if not isinstance(layers, list):
        raise ValueError("it has no list of layers")
    found = []
    for layer in layers:
        if not isinstance(layer, dict):
            raise ValueError("a layer is not an object")
        kind = str(layer.get("mediaType", ""))
        if kind.removeprefix(_MEDIA) not in _GGUF_LAYERS or not kind.startswith(_MEDIA):
            continue
        digest = _DIGEST.fullmatch(str(layer.get("digest", "")))
        if digest is None:
            raise ValueError(f"the digest of a layer is {layer.get('digest')!r}")
        found.append(digest[1])
    return found
