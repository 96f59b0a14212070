"""The peers by name, and one that runs."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp.bench.peers.interface import PeerMissing, PeerPair, PeerResult
from specbranch_cpp.bench.peers.process import PeerProcess
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["NAMES", "Backend", "Peer", "open_peer"]

OPEN_TIMEOUT_S = 600.0
GENERATE_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Backend:
    """What a peer needs.

    Attributes:
        package: what the child imports.
        file: what drives it in the child, see `_child.py`.
        arguments: for the file.
        install: the command that installs the package.
        restarts: whether another draft length needs another process.
    """

    package: str
    file: str
    arguments: tuple[str, ...]
    install: str
    restarts: bool = False


BACKENDS = {
    "llama-cpp-python": Backend(
        "llama_cpp", "_llama_cpp_python.py", ("plain",), "pip install llama-cpp-python"
    ),
    "llama-cpp-python-lookup": Backend(
        "llama_cpp", "_llama_cpp_python.py", ("lookup",), "pip install llama-cpp-python"
    ),
    "llama-server": Backend(
        "xllamacpp", "_llama_server.py", (), "pip install 'specbranch_cpp[peers]'", restarts=True
    ),
}

NAMES: tuple[str, ...] = tuple(BACKENDS)
"""The peers that `open_peer` knows."""


class Peer:
    """A tool with a model loaded, in a process of its own; made by `open_peer`.

    Thread safety: one thread at a time.

    Attributes:
        name: as in `NAMES`.
        version: of the package.
        system_info: the instruction sets that its llama.cpp was compiled for, as it tells them.
        draft_lengths: what a sweep should try, 0 (no speculation) first; (0,): cannot draft.
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
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def generate(self, tokens: Sequence[int], max_tokens: int, draft_length: int = 0) -> PeerResult:
        """Decodes greedily, until the end of the text or `max_tokens`; keeps nothing for later.

        Args:
            tokens: the prompt, at least one token; no BOS is added.
            max_tokens: at least 1.
            draft_length: tokens drafted before each verification, at most; 0: no speculation.
                A change may load the models again: the first generation after it is a cold one.

        Raises:
            InvalidArgument: an argument is out of its range, or the peer cannot draft.
            PeerError: the process died, refused, or gave no answer within an hour.
        """
        if not tokens:
            raise InvalidArgument("tokens is empty; a prompt has at least one token")
        if max_tokens < 1:
            raise InvalidArgument(f"max_tokens is {max_tokens}; at least 1")
        if len(tokens) + max_tokens > self._pair.n_ctx:
            raise InvalidArgument(
                f"{len(tokens)} tokens of prompt and max_tokens {max_tokens} are more than "
                f"n_ctx {self._pair.n_ctx}"
            )
        if draft_length < 0:
            raise InvalidArgument(f"draft_length is {draft_length}; at least 0")
        if draft_length > 0 and max(self.draft_lengths) == 0:
            raise InvalidArgument(f"draft_length is {draft_length}; {self.name} cannot draft here")
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
        """Ends the process for sure. Idempotent."""
        self._process.close()

    def _start(self, draft_length: int) -> dict[str, Any]:
        """Starts a process in which the models are loaded; what it says of itself."""
        file = Path(__file__).parent / self._backend.file
        self._process = PeerProcess(self.name, file, self._backend.arguments)
        self._draft_length = draft_length
        question = {
            "do": "open",
            "pair": dataclasses.asdict(self._pair),
            "cpus": self._pair.cpus,
            "draft_length": draft_length,
        }
        try:
            return self._process.ask(question, OPEN_TIMEOUT_S)
        except BaseException:
            self._process.close()
            raise

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
        pair: the models; the draft is loaded when something is drafted.

    Raises:
        InvalidArgument: the name is not known.
        PeerMissing: its package is not installed.
        PeerError: the process died or could not load the model.
    """
    if name not in BACKENDS:
        raise InvalidArgument(f"there is no peer {name!r}; there are {', '.join(NAMES)}")
    backend = BACKENDS[name]
    if importlib.util.find_spec(backend.package) is None:
        raise PeerMissing(
            f"{name} needs the package {backend.package}; install it with: {backend.install}"
        )
    # The child's working directory is another one.
    absolute = dataclasses.replace(
        pair,
        target=str(Path(pair.target).absolute()),
        draft=None if pair.draft is None else str(Path(pair.draft).absolute()),
    )
    return Peer(name, absolute, backend)
