"""The known peers, and a running peer."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp.bench.peers.interface import PeerMissing, PeerPair, PeerResult
from specbranch_cpp.bench.peers.process import start
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from specbranch_cpp.bench.peers.process import PeerProcess

__all__ = ["DRAFT_PEERS", "NAMES", "Backend", "Peer", "open_peer", "start_llama_server"]

GENERATE_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Backend:
    """The description of a peer.

    Attributes:
        package: the package that the child imports.
        file: the backend in the child, see `_child.py`.
        arguments: arguments of the backend.
        install: the command that installs the package.
        restarts: whether another draft length needs another process.
        needs_draft: whether speculation needs a draft model.
    """

    package: str
    file: str
    arguments: tuple[str, ...]
    install: str
    restarts: bool = False
    needs_draft: bool = False


BACKENDS = {
    "llama-cpp-python": Backend(
        "llama_cpp", "_llama_cpp_python.py", ("plain",), "pip install llama-cpp-python"
    ),
    "llama-cpp-python-lookup": Backend(
        "llama_cpp", "_llama_cpp_python.py", ("lookup",), "pip install llama-cpp-python"
    ),
    "llama-server": Backend(
        "xllamacpp", "_llama_server.py", ("draft",), "pip install 'specbranch_cpp[peers]'",
        restarts=True, needs_draft=True,
    ),
    "llama-server-ngram": Backend(
        "xllamacpp", "_llama_server.py", ("ngram",), "pip install 'specbranch_cpp[peers]'",
        restarts=True,
    ),
}  # fmt: skip

NAMES: tuple[str, ...] = tuple(BACKENDS)
"""The peers that `open_peer` knows."""

DRAFT_PEERS = frozenset(name for name, backend in BACKENDS.items() if backend.needs_draft)
"""The peers that speculate only with a draft model."""


class Peer:
    """A tool with a loaded model in its own process.

    `open_peer` creates a peer.

    Thread safety: one thread at a time.

    Attributes:
        name: name of the peer, one of `NAMES`.
        version: version of the package.
        system_info: the instruction sets of its llama.cpp, as llama.cpp reports them.
        draft_lengths: draft lengths for a sweep, 0 (no speculation) first; (0,): the peer cannot
            draft.
    """

    def __init__(self, name: str, pair: PeerPair, backend: Backend) -> None:
        self.name = name
        self._pair = pair
        self._backend = backend
        answer = self._start(0)
        self.version: str = answer["version"]
        self.system_info: str = answer["system_info"]
        self.draft_lengths: tuple[int, ...] = tuple(answer["draft_lengths"])

    @property
    def can_draft(self) -> bool:
        """Whether it can speculate with these models."""
        return max(self.draft_lengths) > 0

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def generate(self, tokens: Sequence[int], max_tokens: int, draft_length: int = 0) -> PeerResult:
        """Decodes greedily until the end of the text or `max_tokens`.

        The peer keeps nothing for later calls.

        Args:
            tokens: the prompt, at least one token; no BOS token is added.
            max_tokens: the largest number of tokens, at least 1.
            draft_length: the largest number of tokens to draft before each verification; 0: no
                speculation. A change may load the models again, so the first generation after it is
                cold.

        Raises:
            InvalidArgument: an argument is out of its range, or the peer cannot draft.
            PeerError: the process died, refused, or gave no answer within an hour.
        """
        if not tokens:
            raise InvalidArgument("tokens is empty; it must have at least one token")
        if max_tokens < 1:
            raise InvalidArgument(f"max_tokens is {max_tokens}; it must be at least 1")
        if len(tokens) + max_tokens > self._pair.n_ctx:
            raise InvalidArgument(
                f"{len(tokens)} tokens of prompt and max_tokens {max_tokens} are more than "
                f"n_ctx {self._pair.n_ctx}"
            )
        if draft_length < 0:
            raise InvalidArgument(f"draft_length is {draft_length}; it must be at least 0")
        if draft_length > 0 and not self.can_draft:
            raise InvalidArgument(
                f"draft_length is {draft_length}; it must be 0, because {self.name} cannot draft "
                "with these models"
            )
        if self._backend.restarts and draft_length != self._draft_length:
            self._process.close()
            self._start(draft_length)
        question = {
            "do": "generate",
            "with": {
                "tokens": [int(token) for token in tokens],
                "max_tokens": max_tokens,
                "draft_length": draft_length,
            },
        }
        answer = self._process.ask(question, GENERATE_TIMEOUT_S)
        return PeerResult(
            tokens=tuple(answer["tokens"]),
            prefill_ms=answer["prefill_ms"],
            decode_ms=answer["decode_ms"],
            n_drafted=answer["n_drafted"],
            n_accepted=answer["n_accepted"],
        )

    def close(self) -> None:
        """Ends the process, by force if needed. A second call does nothing."""
        self._process.close()

    def _start(self, draft_length: int) -> dict[str, Any]:
        """Starts a process that loads the models. Returns its description of itself."""
        file = Path(__file__).parent / self._backend.file
        self._process, answer = start(
            self.name, file, self._backend.arguments, self._pair, draft_length
        )
        self._draft_length = draft_length
        return answer

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_peer(name: str, pair: PeerPair) -> Peer:
    """Starts a peer and loads the target.

    Args:
        name: one of `NAMES`.
        pair: the models; the peer loads the draft model when it drafts the first time.

    Raises:
        InvalidArgument: the name is not known.
        PeerMissing: its package is not installed.
        PeerError: the process died or could not load the model.
    """
    if name not in BACKENDS:
        raise InvalidArgument(f"peer is {name!r}; it must be one of {', '.join(NAMES)}")
    backend = BACKENDS[name]
    _check_installed(name)
    return Peer(name, pair, backend)


def start_llama_server(
    pair: PeerPair, draft_length: int, n_parallel: int
) -> tuple[PeerProcess, dict[str, Any]]:
    """Starts llama-server for HTTP requests of several clients.

    Args:
        pair: the models; ``n_ctx`` is the context of each text.
        draft_length: the largest number of tokens to draft before each verification; 0: the draft
            is not loaded.
        n_parallel: the largest number of texts at once, its ``--parallel``.

    Returns:
        The process, and its description: ``url``, ``version``, ``system_info`` and
        ``usual_draft_length``, the length that it has without an option.

    Raises:
        PeerMissing: its package is not installed.
        PeerError: the process died or could not load the models.
    """
    _check_installed("llama-server")
    file = Path(__file__).with_name(BACKENDS["llama-server"].file)
    return start("llama-server", file, ("draft", str(n_parallel)), pair, draft_length)


def _check_installed(name: str) -> None:
    """Checks that the package of a peer is installed.

    Raises:
        PeerMissing: it is not.
    """
    backend = BACKENDS[name]
    if importlib.util.find_spec(backend.package) is None:
        raise PeerMissing(
            f"{name} needs the package {backend.package}; install it with: {backend.install}"
        )
