"""What the calls over an engine need of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine.model_facts import ModelFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.generation import Generation

__all__ = ["TextEngine"]


class TextEngine(ModelFacts):
    """A vocabulary, and texts of it: the part of `Engine` that `openai_api` knows."""

    @abstractmethod
    def generate(self, prompt: str | Sequence[int], *args: Any, **options: Any) -> Generation:
        """See `Engine.generate`."""
