"""Other tools on the same GGUF files, for comparison in the same run.

    from specbranch_cpp.bench import peers

    pair = peers.PeerPair("target.gguf", "draft.gguf", n_ctx=2048, n_threads=1, cpus=(0,))
    with peers.open_peer("llama-server", pair) as peer:
        plain = peer.generate(tokens, max_tokens=96, draft_length=0)
        drafted = peer.generate(tokens, max_tokens=96, draft_length=3)

Each peer runs in its own process. ``docs/peers.md`` describes what the peers do.
"""

from __future__ import annotations

from specbranch_cpp.bench.peers.interface import PeerError, PeerMissing, PeerPair, PeerResult
from specbranch_cpp.bench.peers.peer import (
    DRAFT_PEERS,
    NAMES,
    Peer,
    open_peer,
    start_llama_server,
)

__all__ = [
    "DRAFT_PEERS",
    "NAMES",
    "Peer",
    "PeerError",
    "PeerMissing",
    "PeerPair",
    "PeerResult",
    "open_peer",
    "start_llama_server",
]
