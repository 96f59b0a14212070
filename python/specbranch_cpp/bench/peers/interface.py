"""The inputs and outputs of a peer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from specbranch_cpp.errors import MissingExtra, SpecBranchError

__all__ = ["PeerError", "PeerMissing", "PeerPair", "PeerResult"]


class PeerError(SpecBranchError):
    """A peer's process died, refused a request or did not answer.

    The message quotes the end of its stderr.
    """


class PeerMissing(MissingExtra):
    """The package of the peer is not installed. The message contains the command to install it."""


@dataclass(frozen=True)
class PeerPair:
    """The models of a peer and their options.

    Attributes:
        target: path of the target model.
        draft: path of the draft model. ``None``: no draft model.
        n_ctx: context length in tokens, including the prompt.
        n_threads: number of threads of each model, also for prompts.
        cpus: the CPUs that the whole process may use. ``None``: the CPUs of this process.
        n_gpu_layers: number of the target's layers on the GPU; -1: all layers.
        draft_n_gpu_layers: number of the draft's layers on the GPU; -1: all layers.
    """

    target: str
    draft: str | None
    n_ctx: int
    n_threads: int
    cpus: tuple[int, ...] | None
    n_gpu_layers: int = 0
    draft_n_gpu_layers: int = 0

    def absolute(self) -> PeerPair:
        """The same with absolute paths, because a child has another working directory."""
        return replace(
            self,
            target=str(Path(self.target).absolute()),
            draft=None if self.draft is None else str(Path(self.draft).absolute()),
        )


@dataclass(frozen=True)
class PeerResult:
    """One generation of a peer.

    Attributes:
        tokens: the generated tokens, without an end token.
        prefill_ms: time from the request to the first token: the prompt and one choice.
        decode_ms: time from the first token to the last token or to the end of the text. It does
            not include the first token; `GenerationStats.decode_ms` includes a step for every
            token.
        n_drafted: number of drafted tokens that the target verified. ``None``: not known.
        n_accepted: number of drafted tokens that the target accepted. ``None``: not known.
    """

    tokens: tuple[int, ...]
    prefill_ms: float
    decode_ms: float
    n_drafted: int | None
    n_accepted: int | None

    @property
    def tokens_per_second(self) -> float:
        """The tokens except the first, divided by `decode_ms`; 0 for fewer than two tokens."""
        if len(self.tokens) < 2 or self.decode_ms <= 0:
            return 0.0
        return 1000.0 * (len(self.tokens) - 1) / self.decode_ms
