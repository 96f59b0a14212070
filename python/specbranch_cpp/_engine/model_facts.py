"""Properties of an engine's models: vocabulary, sizes, metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._support import checked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specbranch_cpp import _core
    from specbranch_cpp._engine.request import Defaults
    from specbranch_cpp.results import LoraAdapter

__all__ = ["ModelFacts"]


class ModelFacts:
    """The part of `Engine` that needs no generation."""

    _core: _core.Engine
    _defaults: Defaults
    _names: list[str]
    _chat_template: str | None

    def tokenize(self, text: str, *, add_bos: bool = True, special: bool = False) -> list[int]:
        """The token ids of a text.

        Args:
            text: the text; it must be valid Unicode.
            add_bos: whether to add the BOS token if the model asks for it. If the text begins with
                the name of the BOS token and `special` is true, no second BOS token is added.
            special: whether names of control tokens become these tokens.

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
        """The text of token ids. Incomplete characters become U+FFFD.

        Args:
            tokens: the token ids.
            special: whether control tokens give their names. If False, they give no text.

        Raises:
            InvalidArgument: an id is not in the vocabulary.
            EngineClosed: the engine is closed.
        """
        ids = checked.tokens("tokens", tokens, self._core.n_vocab, "a sequence of token ids")
        return self._core.detokenize(ids, special=checked.flag("special", special)).decode(
            errors="replace"
        )

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to a text. A token may be a part of a character.

        Control tokens add no bytes. Constraint libraries need the bytes of all tokens:
        ``[engine.token_bytes(t) for t in range(engine.vocab_size)]``.

        Raises:
            InvalidArgument: the id is not in the vocabulary.
            EngineClosed: the engine is closed.
        """
        known = checked.integer("token", token, 0, self._core.n_vocab - 1)
        return self._core.detokenize([known], special=False)

    def is_end_token(self, token: int) -> bool:
        """Whether this token ends a text: EOS, or another end-of-turn token.

        Raises:
            InvalidArgument: the id is not in the vocabulary.
            EngineClosed: the engine is closed.
        """
        return self._core.is_end(checked.integer("token", token, 0, self._core.n_vocab - 1))

    @property
    def vocab_size(self) -> int:
        """The number of tokens in the target's vocabulary."""
        return self._core.n_vocab

    @property
    def n_ctx(self) -> int:
        """The largest number of tokens of prompt and text together."""
        return self._core.n_ctx

    @property
    def n_ctx_total(self) -> int:
        """The largest number of tokens of all generations at once."""
        return self._core.n_ctx_total

    @property
    def n_parallel(self) -> int:
        """The largest number of generations that run at once."""
        return self._core.n_parallel

    @property
    def verified_branches(self) -> int:
        """The number of branches that one verification may have beside its path, in ``auto``.

        0: every verification is a path. So it is with ``bit_exact``, with layers on other hosts,
        and where the target's cells cannot be cut at any place (recurrent models, windows).
        """
        return self._core.n_branches

    @property
    def n_feature_layers(self) -> int:
        """The number of target layers whose inputs can be recorded.

        0: llama.cpp gives no inputs of layers for this architecture.
        """
        return self._core.n_feature_layers

    @property
    def bos_token(self) -> int | None:
        """The id of the BOS token. ``None``: the model has no BOS token."""
        return self._core.bos

    @property
    def eos_token(self) -> int | None:
        """The id of the EOS token. ``None``: the model has no EOS token."""
        return self._core.eos

    @property
    def fim_tokens(self) -> tuple[int, int, int] | None:
        """The tokens of a fill-in-the-middle prompt: before the prefix, the suffix, the middle.

        The file's metadata gives them, or their names in the vocabulary (``<|fim_prefix|>`` and
        the other names that llama.cpp knows). ``None``: the model does not have all three.
        """
        return self._core.fim

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the target's file by key: names, sizes, templates; without arrays."""
        return self._core.metadata

    @property
    def chat_template(self) -> str | None:
        """The Jinja template for messages: the option ``chat_template``, or the target's template.

        ``None``: there is no template.
        """
        if self._chat_template is not None:
            return self._chat_template
        return self.metadata.get("tokenizer.chat_template")

    @property
    def mode(self) -> str:
        """The mode of calls without ``mode``."""
        return self._defaults.mode

    @property
    def can_speculate(self) -> bool:
        """Whether the engine can draft: it has a draft model, or texts propose tokens (``lookup``).

        False if the target cannot roll back tokens.
        """
        return self._core.can_speculate

    @property
    def has_draft(self) -> bool:
        """Whether the engine has a draft model, and a target that can roll back tokens.

        False also after a failure that left the draft in an unknown state. The engine then decodes
        without the draft.
        """
        return self._core.has_draft

    @property
    def lookup(self) -> bool:
        """Whether texts propose tokens: the option ``lookup``."""
        return self._defaults.lookup

    @property
    def lookup_answers(self) -> bool:
        """Whether earlier answers propose tokens: the options ``lookup`` and ``lookup_answers``."""
        return self._defaults.lookup_answers

    @property
    def lora_adapters(self) -> tuple[LoraAdapter, ...]:
        """The LoRA adapters of the target, in the order of the argument ``lora``."""
        return self._defaults.adapters

    @property
    def model_paths(self) -> tuple[str, ...]:
        """The paths of the target and of the draft, if the engine has a draft."""
        return tuple(self._names)
