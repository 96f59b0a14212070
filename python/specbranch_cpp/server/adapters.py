"""The LoRA adapters of the server, as llama-server has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine.adapters import chosen_adapters
from specbranch_cpp._support.words import in_unicode
from specbranch_cpp.server.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.results import LoraAdapter

__all__ = ["ServedAdapters"]


class ServedAdapters:
    """The adapters, and their scales for requests without a field ``lora``.

    *Thread safety*: one event loop only.
    """

    def __init__(self, loaded: Sequence[LoraAdapter]) -> None:
        self._loaded = loaded
        self._scales = [each.scale for each in loaded]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The reply of ``GET /lora-adapters``."""
        return [
            {
                "id": index,
                "path": in_unicode(each.path),
                "scale": scale,
                "task_name": each.task_name,
                "prompt_prefix": each.prompt_prefix,
            }
            for index, (each, scale) in enumerate(zip(self._loaded, self._scales, strict=True))
        ]

    @property
    def default(self) -> dict[str, Any]:
        """The argument ``lora`` of requests without this field; empty without adapters."""
        return {"lora": list(enumerate(self._scales))} if self._loaded else {}

    def use(self, scales: Sequence[tuple[int, float]]) -> None:
        """Sets the scales, for requests that arrive from now on. An adapter not named is off.

        Raises:
            BadRequest: an adapter is named twice.
            InvalidArgument: there is no such adapter, or a scale is out of its range.
        """
        chosen = dict(chosen_adapters(scales, self._loaded))
        if len(chosen) < len(scales):
            raise BadRequest("an adapter is named twice; each may be named once", "id")
        self._scales = [chosen.get(index, 0.0) for index in range(len(self._loaded))]
