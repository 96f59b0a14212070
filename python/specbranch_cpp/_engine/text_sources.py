"""The texts that propose tokens: options of an engine, and the prediction of a call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from specbranch_cpp._support import checked
from specbranch_cpp._support.files import open_file
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp import _core
    from specbranch_cpp._engine.keywords import Named
    from specbranch_cpp._engine.request import Defaults
    from specbranch_cpp.options import Speculation

__all__ = ["CorpusText", "Prediction", "TextSources", "refuse_prompt_lookup", "set_prediction",
           "set_switches"]  # fmt: skip

CorpusText = Union[str, "os.PathLike[str]", "Sequence[int]"]
"""A text of ``Engine(corpus=...)``: the text itself, the path of a UTF-8 file, or token ids."""
Prediction = Union[str, "Sequence[int]"]
"""A text that an answer probably resembles, or its token ids."""

_MAX_TOKEN = 2**31 - 1
MAX_CORPUS = 2**26
"""The largest number of bytes, or of tokens where they are given, of all texts of a corpus."""


@dataclass(frozen=True)
class TextSources:
    """The checked options of an engine.

    Attributes:
        lookup: whether texts propose tokens.
        lookup_answers: whether earlier answers of the engine do so.
        corpus: UTF-8 or tokens of each text.
    """

    lookup: bool
    lookup_answers: bool
    corpus: list[bytes | list[int]]

    @classmethod
    def of(cls, said: Named[Speculation], corpus: Any) -> TextSources:
        """Checks the options of an engine, and reads the files.

        Raises:
            InvalidArgument: an option has the wrong type, a file cannot be read or is not UTF-8, or
                there is a corpus, or ``lookup_answers`` is True, although ``lookup`` is False.
        """
        lookup = _switch(said, "lookup", default=True)
        lookup_answers = _switch(said, "lookup_answers", default=True)
        if not lookup and said.value.lookup_answers:
            raise InvalidArgument(
                f"{said.prefix}lookup_answers is True, but {said.prefix}lookup is False; leave one "
                "of them out, because without lookup no text proposes tokens"
            )
        texts = [] if corpus is None else _corpus(corpus)
        if texts and not lookup:
            raise InvalidArgument(
                f"corpus has {len(texts)} texts, but {said.prefix}lookup is False; leave one of "
                "them out, because without lookup no text proposes tokens"
            )
        return cls(lookup, lookup_answers, texts)


def set_switches(request: _core.Request, defaults: Defaults, said: Named[Speculation]) -> None:
    """Sets whether texts, and earlier answers, propose tokens to a call.

    Raises:
        InvalidArgument: a value has the wrong type, or the call wants what the engine does not do.
    """
    for name in ("lookup", "lookup_answers"):
        of_engine = getattr(defaults, name)
        wanted = _switch(said, name, default=of_engine)
        if wanted and not of_engine:
            raise InvalidArgument(
                f"{said.prefix}{name} is True, but it is False for the engine; it must be False or "
                "None here, because the engine keeps no texts for it"
            )
        setattr(request, name, wanted)


def _switch(said: Named[Speculation], name: str, *, default: bool) -> bool:
    value = getattr(said.value, name)
    return default if value is None else checked.flag(f"{said.prefix}{name}", value)


def refuse_prompt_lookup(draft: object) -> None:
    """Says what stands for ``LlamaPromptLookupDecoding`` of llama-cpp-python.

    Raises:
        InvalidArgument: the draft is such an object.
    """
    length = getattr(draft, "num_pred_tokens", None)
    if length is not None:
        raise InvalidArgument(
            f"draft is {draft!r:.60}; leave draft out, because texts propose tokens without a "
            f"draft model (lookup); max_draft={length} limits their number as num_pred_tokens does"
        )


def set_prediction(request: _core.Request, core: _core.Engine, prediction: Prediction) -> None:
    """Checks the prediction of a call and gives it to the request.

    Raises:
        InvalidArgument: the prediction has the wrong type, is not in the vocabulary, or is longer
            than any answer can be.
    """
    if not isinstance(prediction, str):
        request.prediction = checked.tokens("prediction", prediction, core.n_vocab)
    else:
        text = checked.encoded("prediction", prediction)
        # Before tokenizing, which can take long.
        _check_length(-(-len(text) // core.longest_token), core, "at least ")
        core.set_prediction(request, text)
    _check_length(request.n_prediction, core)


def _check_length(n_tokens: int, core: _core.Engine, least: str = "") -> None:
    if n_tokens >= core.n_ctx:
        raise InvalidArgument(
            f"the prediction has {least}{n_tokens} tokens; it must have fewer than the context of "
            f"{core.n_ctx}, because no answer is longer"
        )


def _corpus(corpus: Any) -> list[bytes | list[int]]:
    if isinstance(corpus, os.PathLike):
        raise InvalidArgument(
            f"corpus is {corpus!r}; it must be a sequence of texts, paths or token ids: put the "
            "path into a list"
        )
    texts: list[bytes | list[int]] = []
    room = MAX_CORPUS
    for i, text in checked.items("corpus", corpus):
        texts.append(_text(f"corpus[{i}]", text, room))
        room -= len(texts[-1])
        if room < 0:
            raise _too_large(f"corpus[{i}]")
    return texts


def _too_large(name: str) -> InvalidArgument:
    return InvalidArgument(
        f"the corpus has too much text with {name}; it must have at most {MAX_CORPUS:,} bytes (or "
        "tokens, where tokens are given) in total"
    )


def _text(name: str, text: Any, room: int) -> bytes | list[int]:
    if isinstance(text, str):
        return checked.encoded(name, text)
    if isinstance(text, os.PathLike):
        return _file(name, Path(os.fsdecode(text)), room)
    if isinstance(text, (bytes, bytearray, Mapping)) or not isinstance(text, Iterable):
        raise InvalidArgument(
            f"{name} is {text!r:.60}; it must be a text, the path of a text file, or token ids"
        )
    return checked.tokens(name, text, _MAX_TOKEN)  # the core knows the vocabulary


def _file(name: str, path: Path, room: int) -> bytes:
    """The bytes of a file, which must be UTF-8; not more than one above ``room``."""
    try:
        with open_file(path) as file:
            data = file.read(room + 1)
    except OSError as error:
        raise InvalidArgument(f"{name}: {path} cannot be read: {error.strerror}") from None
    if len(data) > room:
        raise _too_large(f"{name}, {path}")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{name}: {path} is not UTF-8 at byte {error.start}") from None
    return data
