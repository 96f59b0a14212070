"""What an engine tells of its models: vocabulary, sizes, metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._support import checked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specbranch_cpp import _core
    from specbranch_cpp._engine.request import Defaults

__all__ = ["ModelFacts"]


class ModelFacts:
    """The part of `Engine` that answers without a generation."""

    _core: _core.Engine
    _defaults: Defaults
    _names: list[str]
    _chat_template: str | None

    def tokenize(self, text: str, *, add_bos: bool = True, special: bool = False) -> list[int]:
        """The token ids of a text.

        Args:
            text: any text that UTF-8 can express.
            add_bos: add the BOS token if the model asks for one.
            special: read names of control tokens as these tokens.

        Raises:
            InvalidArgument: the text has a lone surrogate.
            EngineClosed: the engine is closed.
        """
        return self._core.tokenize(
            checked.encoded("text", text),
            add_special=checked.flag("add_bos", add_bos),
            parse_special=checked.flag("special", special),
        )

    def detokenize(self, tokens: Iterable[int], *, special: bool = False) -> str:
        """The text of token ids; broken characters become U+FFFD.

        Args:
            tokens: the ids.
            special: control tokens have their names; without it, no text.

        Raises:
            InvalidArgument: an id is not in the vocabulary.
            EngineClosed: the engine is closed.
        """
        ids = checked.tokens("tokens", tokens, self._core.n_vocab)
        return self._core.detokenize(ids, special=checked.flag("special", special)).decode(
            errors="replace"
        )

    def is_end_token(self, token: int) -> bool:
        """Whether the model ends a text with this token: an EOS, or another that ends a turn.

        Raises:
            InvalidArgument: the id is not in the vocabulary.
            EngineClosed: the engine is closed.
        """
        return self._core.is_end(checked.integer("token", token, 0, self._core.n_vocab - 1))

    @property
    def vocab_size(self) -> int:
        """Tokens of the target's vocabulary."""
        return self._core.n_vocab

    @property
    def n_ctx(self) -> int:
        """Tokens that prompt and text together may have."""
        return self._core.n_ctx

    @property
    def n_feature_layers(self) -> int:
        """Layers of the target whose inputs can be recorded; 0: its architecture gives none."""
        return self._core.n_feature_layers

    @property
    def bos_token(self) -> int | None:
        """Id of the token that begins a text; None if the model has none."""
        return self._core.bos

    @property
    def eos_token(self) -> int | None:
        """Id of the token that ends a text; None if the model has none."""
        return self._core.eos

    @property
    def metadata(self) -> dict[str, str]:
        """What the target's file says of itself, by key: names, sizes, templates. No arrays."""
        return self._core.metadata

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that messages are written with: the one given, or the target's."""
        if self._chat_template is not None:
            return self._chat_template
        return self.metadata.get("tokenizer.chat_template")

    @property
    def mode(self) -> str:
        """The mode of calls that name none."""
        return self._defaults.mode

    @property
    def can_speculate(self) -> bool:
        """Whether there is a draft, and a target that can take tokens back."""
        return self._core.can_speculate

    @property
    def model_paths(self) -> tuple[str, ...]:
        """Paths of the target and, if there is one, of the draft."""
        return tuple(self._names)
