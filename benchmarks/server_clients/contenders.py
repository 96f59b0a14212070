"""The contenders, and the processes of their servers."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp.bench import machine, peers
from specbranch_cpp.bench.peers.process import PeerProcess, start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from specbranch_cpp.bench.clients import ClientsPlan

__all__ = ["AUTO", "AUTOREGRESSIVE", "QUEUE", "Contender", "Server", "all_contenders", "start_all"]

QUEUE, AUTOREGRESSIVE, AUTO = "queue", "autoregressive", "auto"
_OWN = Path(__file__).with_name("own_server.py")


@dataclass(frozen=True)
class Contender:
    """What is compared.

    Attributes:
        name: its name in the table.
        n_parallel: the largest number of texts at once.
        draft_length: of llama-server; 0: no draft. ``None``: it is our server.
        mode: the mode of our server.
    """

    name: str
    n_parallel: int
    draft_length: int | None = None
    mode: str | None = None

    @property
    def is_ours(self) -> bool:
        return self.draft_length is None

    @property
    def server(self) -> tuple[int, int | None]:
        """What tells the servers apart: two modes share one."""
        return self.n_parallel, self.draft_length

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of its requests beside those of all."""
        if self.is_ours:
            return {"mode": self.mode}
        # Of the chain of samplers, only the first choice matters at temperature 0.
        return {"samplers": ["top_k"], "top_k": 1}


def all_contenders(n_parallel: int, draft_lengths: Sequence[int]) -> list[Contender]:
    """Our contenders, `AUTO` last, then llama-server with each draft length (0: no draft)."""
    return [
        Contender(QUEUE, 1, mode="auto"),
        Contender(AUTOREGRESSIVE, n_parallel, mode="autoregressive"),
        Contender(AUTO, n_parallel, mode="auto"),
        *(
            Contender(f"llama-server, draft {length}" if length else "llama-server", n_parallel,
                      draft_length=length)
            for length in dict.fromkeys(draft_lengths)
        ),
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Server:
    """A server that runs.

    Attributes:
        url: where it listens.
        about: what it says of itself.
        process: its process. ``None``: it is none of ours.
    """

    url: str
    about: Mapping[str, Any] = field(default_factory=dict)
    process: PeerProcess | None = None

    def cpu_seconds(self) -> float:
        """The CPU time of its process so far; 0: the system does not tell."""
        if self.process is None:
            return 0.0
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_bytes()
        except OSError:
            return 0.0
        user, system = stat.rpartition(b")")[2].split()[11:13]  # the name before may have blanks
        return (int(user) + int(system)) / float(os.sysconf("SC_CLK_TCK"))

    def last_words(self) -> str:
        """How its process ended, if it did, and the end of what it wrote on standard error."""
        if self.process is None:
            return ""
        status = self.process.exit_status
        how = "" if status is None else f"; the process ended with {status}"
        return how + self.process.last_words()


def start_all(
    contenders: Sequence[Contender], plan: ClientsPlan, stack: ExitStack
) -> dict[Contender, Server]:
    """Starts a server for each contender that has none yet, one after the other.

    Args:
        contenders: the contenders.
        plan: the models and their place.
        stack: ends the processes.

    Raises:
        PeerMissing: llama-server is not installed.
        PeerError: a process died or could not load the models.
    """
    servers: dict[tuple[int, int | None], Server] = {}
    for contender in contenders:
        if contender.server not in servers:
            process, about = _start(contender, plan)
            stack.callback(process.close)
            about["system_info"] = machine.tidy(about["system_info"])
            servers[contender.server] = Server(about["url"], about, process)
    return {contender: servers[contender.server] for contender in contenders}


def _start(contender: Contender, plan: ClientsPlan) -> tuple[PeerProcess, dict[str, Any]]:
    assert plan.placement.peer is not None
    pair = peers.PeerPair(
        target=str(plan.pair.target),
        draft=None if plan.pair.draft is None else str(plan.pair.draft),
        n_ctx=plan.n_ctx,
        **plan.placement.peer,
    )
    if contender.draft_length is not None:
        return peers.start_llama_server(pair, contender.draft_length, contender.n_parallel)
    options = {**plan.placement.options, "n_parallel": contender.n_parallel}
    return start("our server", _OWN, (json.dumps(options),), pair, 0)
