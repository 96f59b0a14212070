"""Several simulated texts at once: what the clients ask for, and what they get."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._support import checked
from specbranch_cpp._support.percentiles import percentile
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_CLIENTS = 1000


@dataclass(frozen=True)
class Client:
    """One request.

    Attributes:
        arrival_us: when it comes, in microseconds.
        n_prompt: tokens of its prompt.
        n_tokens: tokens of its answer.
    """

    arrival_us: float = 0.0
    n_prompt: int = 16
    n_tokens: int = 200


@dataclass(frozen=True)
class ClientsResult:
    """The result of several simulated texts.

    Attributes:
        tokens_per_s: tokens of all answers per second, until the last one ended.
        first_token_ms: from a client's arrival to its first token, in milliseconds: the median and
            the 95th percentile over the clients.
        between_tokens_ms: the same of the times between two tokens of a text. Tokens of one
            verification come at once.
        tokens_per_batch: rows of a batch of the target, of all texts, without padding; the mean.
        acceptance_rate: share of the drafted tokens that became text; 0 if none was drafted.
        target_busy: share of the time in which the target computed, 0 to 1.
        draft_busy: share of the time in which the draft computed.
        mode_reason: the reason for the decision of `auto` in the last text; empty if there is none.
    """

    tokens_per_s: float
    first_token_ms: tuple[float, float]
    between_tokens_ms: tuple[float, float]
    tokens_per_batch: float
    acceptance_rate: float
    target_busy: float
    draft_busy: float
    mode_reason: str


def run(
    request: _core.Request,
    pair: _core.SyntheticPair,
    machine: _core.SimulatedMachine,
    clients: Sequence[Client],
    *,
    n_parallel: int,
    warm: bool,
    draft: bool,
    lookup: bool,
) -> ClientsResult:
    """Decodes the texts of all clients. Raises InvalidArgument for what is out of range."""
    clients = [client for _, client in checked.items("clients", clients)]
    for i, client in enumerate(clients):
        if not isinstance(client, Client):
            raise InvalidArgument(f"clients[{i}] is {client!r:.60}; it must be a Client")
    if not 1 <= len(clients) <= _MOST_CLIENTS:
        raise InvalidArgument(
            f"there are {len(clients)} clients; 1 to {_MOST_CLIENTS} are possible"
        )
    wanted = [
        (
            checked.real(f"clients[{i}].arrival_us", client.arrival_us),
            checked.integer(f"clients[{i}].n_prompt", client.n_prompt, 1, 10**6),
            checked.integer(f"clients[{i}].n_tokens", client.n_tokens, 1, 10**6),
        )
        for i, client in enumerate(clients)
    ]
    n_parallel = checked.integer("n_parallel", n_parallel, 1, 64)
    found = _core.simulate_crowd(
        request, pair, machine, wanted, n_parallel, warm=warm, draft=draft, lookup=lookup
    )
    texts = found.texts
    firsts = [
        text.token_us[0] - client.arrival_us for text, client in zip(texts, clients, strict=True)
    ]
    gaps = [later - earlier for text in texts for earlier, later in pairwise(text.token_us)]
    n_drafted = sum(text.n_drafted for text in texts)
    return ClientsResult(
        tokens_per_s=1e6 * sum(len(text.token_us) for text in texts) / found.time_us,
        first_token_ms=_median_and_p95(firsts),
        between_tokens_ms=_median_and_p95(gaps),
        tokens_per_batch=found.n_batch_tokens / found.n_batches,
        acceptance_rate=sum(text.n_accepted for text in texts) / n_drafted if n_drafted else 0.0,
        target_busy=found.target_busy_us / found.time_us,
        draft_busy=found.draft_busy_us / found.time_us,
        mode_reason=texts[-1].mode_reason,
    )


def _median_and_p95(us: Iterable[float]) -> tuple[float, float]:
    """In milliseconds, by the nearest rank; 0 of nothing."""
    times = list(us)
    if not times:
        return 0.0, 0.0
    return percentile(times, 0.5) / 1000.0, percentile(times, 0.95) / 1000.0
