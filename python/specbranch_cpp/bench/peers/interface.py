"""What goes into a peer and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from specbranch_cpp.errors import MissingExtra, SpecBranchError

__all__ = ["PeerError", "PeerMissing", "PeerPair", "PeerResult"]


class PeerError(SpecBranchError):
    """A peer's process died, refused a request or gave no answer; quotes the end of its stderr."""


class PeerMissing(MissingExtra):
    """The peer's package is not installed; the message says how to install it."""


@dataclass(frozen=True)
class PeerPair:
    """The files a peer runs, and how.

    Attributes:
        target: path of the target model.
        draft: path of the draft model, or None: then nothing is drafted with a model.
        n_ctx: tokens of context, prompt included.
        n_threads: threads of each model, for prompts too.
        cpus: the CPUs that the whole process may use; None: those of this process.
        n_gpu_layers: the target's layers on the GPU; -1: all.
        draft_n_gpu_layers: the draft's.
    """

    target: str
    draft: str | None
    n_ctx: int
    n_threads: int
    cpus: tuple[int, ...] | None
    n_gpu_layers: int = 0
    draft_n_gpu_layers: int = 0


@dataclass(frozen=True)
class PeerResult:
    """One generation of a peer.

    Attributes:
        tokens: what was generated, without the token that ends a text.
        prefill_ms: from the request to the first token: the prompt and one choice.
        decode_ms: from the first token to the last one or to the end of the text. The first token
            is not in it, while `GenerationStats.decode_ms` contains a step for every token.
        n_drafted: drafted tokens that the target was given to verify; None: not known.
        n_accepted: those of them that the target chose as well; None: not known.
    """

    tokens: tuple[int, ...]
    prefill_ms: float
    decode_ms: float
    n_drafted: int | None
    n_accepted: int | None

    @property
    def tokens_per_second(self) -> float:
        """All tokens but the first over `decode_ms`; 0 for fewer than two."""
        if len(self.tokens) < 2 or self.decode_ms <= 0:
            return 0.0
        return 1000.0 * (len(self.tokens) - 1) / self.decode_ms
