"""OpenAI's field ``prediction``: a text that the answer probably resembles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from specbranch_cpp._engine.text_sources import Prediction

__all__ = ["PredictionContent", "predicted_text"]

PredictionContent = Union["Prediction", Mapping[str, Any]]
"""A text, token ids, or ``{"type": "content", "content": ...}`` with a text or with text parts."""

_FORM = 'it must be a text, token ids, or {"type": "content", "content": TEXT}'


def predicted_text(prediction: PredictionContent | None) -> Prediction | None:
    """The argument ``prediction`` of `Engine.generate`. Text parts follow each other directly.

    Raises:
        InvalidArgument: the mapping is not OpenAI's. The engine checks texts and token ids.
    """
    if not isinstance(prediction, Mapping):
        return prediction
    kind = prediction.get("type")
    if kind != "content":
        raise InvalidArgument(f"prediction['type'] is {kind!r:.60}; {_FORM}")
    content = prediction.get("content")
    name = "prediction['content']"
    if isinstance(content, str):
        return checked.text(name, content)
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Iterable):
        raise InvalidArgument(f"{name} is {content!r:.60}; it must be a text or a list of parts")
    return "".join(_text(f"{name}[{i}]", part) for i, part in enumerate(content))


def _text(name: str, part: Any) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text":
        raise InvalidArgument(
            f'{name} is {part!r:.60}; it must be {{"type": "text", "text": TEXT}}, because a '
            "prediction is a text"
        )
    return checked.text(f"{name}['text']", part.get("text"))
