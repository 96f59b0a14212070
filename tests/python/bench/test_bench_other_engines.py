"""Other engines in a run of `specbranch bench`; they are fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.python.support.bench_runs import measure, small_request

from specbranch_cpp import Engine
from specbranch_cpp.bench import peer_access, session
from specbranch_cpp.bench.peers import interface
from specbranch_cpp.bench.statistics import summarize
from specbranch_cpp.errors import InvalidArgument


@pytest.fixture
def request_(pair: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    return small_request(pair, tmp_path)


def result(*tokens: int) -> interface.PeerResult:
    return interface.PeerResult(
        tokens, prefill_ms=1.0, decode_ms=2.0, n_drafted=None, n_accepted=None
    )


class FakePeers:
    """Stands for `specbranch_cpp.bench.peers`. Its engine decodes right, wrong, or dies."""

    NAMES = ("right", "wrong", "dying", "missing")
    PeerPair = interface.PeerPair
    PeerMissing = interface.PeerMissing

    def __init__(self) -> None:
        self.opened: list[tuple[str, interface.PeerPair]] = []
        self.asked: list[tuple[str, int]] = []

    @contextmanager
    def open_peer(self, name: str, pair: interface.PeerPair) -> Iterator[FakePeer]:
        if name == "missing":
            raise interface.PeerMissing("pip install missing")
        self.opened.append((name, pair))
        with Engine(pair.target, n_ctx=pair.n_ctx, n_threads=1) as engine:
            yield FakePeer(name, engine, self)


class FakePeer:
    version = "7.1"
    system_info = ""

    def __init__(self, name: str, engine: Engine, peers: FakePeers) -> None:
        self.can_draft = name != "wrong"
        self.draft_lengths = (0, 4) if self.can_draft else (0,)
        self._name, self._engine, self._peers = name, engine, peers

    def generate(
        self, tokens: Sequence[int], max_tokens: int, draft_length: int
    ) -> interface.PeerResult:
        self._peers.asked.append((self._name, draft_length))
        if self._name == "dying":
            raise RuntimeError("it died")
        done = self._engine.generate(tokens, max_tokens=max_tokens).result()
        if self._name == "wrong":
            return result(*done.tokens[:2], done.tokens[2] + 1)
        end = self._engine.eos_token
        assert end is not None
        return result(*done.tokens, end)  # as engines do that give the end token too


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> FakePeers:
    made = FakePeers()
    monkeypatch.setattr(peer_access, "peers", made)
    return made


def test_peers_take_part(tmp_path: Path, request_: dict[str, Any], peers: FakePeers) -> None:
    found = measure(tmp_path, request_ | {"peers": "all", "temperatures": (0.0, 0.7)})
    header = found[0]
    assert header["skipped"]["peer"] == {"missing": "pip install missing"}
    assert header["libraries"]["peer right"] == "7.1"
    # Once to look at it, then one for each draft length: a change of it may be a new start.
    assert [name for name, _ in peers.opened].count("right") == 3
    by_name = {name for name, _ in peers.opened}
    assert by_name == {"right", "wrong", "dying"}
    n_cores = header["machine"]["n_usable"]
    assert {(each.n_ctx, each.n_threads, each.cpus) for _, each in peers.opened} == {
        (256, n_cores, None)
    }
    assert {asked for asked in peers.asked if asked[0] != "dying"} == {
        ("right", 0), ("right", 4), ("wrong", 0),
    }  # fmt: skip
    timed = [r for r in found if r.get("variant") == "right (0)" and r["kind"] == "generation"]
    assert all(r["stats"]["n_timed"] == len(r["tokens"]) - 1 for r in timed)
    greedy, warm = summarize(found).groups
    rows = {row.name: row for row in greedy.rows if row.is_peer}
    assert set(rows) == {"right (0)", "right (4)", "wrong (0)"}
    assert rows["right (4)"].n_equal == rows["right (4)"].n_texts == 3
    assert rows["right (0)"].speedup is not None
    assert rows["wrong (0)"].n_equal == 0
    assert sum(row.is_best for row in greedy.rows if row.mode == "right") == 1
    assert not summarize(found).differences
    assert len(greedy.differences) == 3
    assert all(one.gap is not None for one in greedy.differences)
    assert not any(row.is_peer for row in warm.rows)
    (skip,) = [record for record in found if record["kind"] == "skip"]
    assert (skip["variant"], skip["reason"]) == ("dying", "it died")
    assert peers.asked.count(("dying", 0)) + peers.asked.count(("dying", 4)) == 1


@pytest.mark.usefixtures("peers")
def test_peers_that_are_asked_for_by_name(request_: dict[str, Any]) -> None:
    prepared = session.prepare(session.BenchRequest(**request_ | {"peers": "wrong"}))
    assert [each.name for each in prepared.plan.variants if each.is_peer] == ["wrong (0)"]
    with pytest.raises(InvalidArgument, match="missing: pip install missing"):
        session.prepare(session.BenchRequest(**request_ | {"peers": "wrong,missing"}))
    with pytest.raises(InvalidArgument, match="peer is 'other'; it must be one of all, none"):
        session.prepare(session.BenchRequest(**request_ | {"peers": "other"}))


@pytest.mark.usefixtures("peers")
def test_draft_lengths_of_peers_are_chosen(request_: dict[str, Any]) -> None:
    asked = request_ | {"peers": "right,wrong", "peer_lengths": (3, 5)}
    prepared = session.prepare(session.BenchRequest(**asked))
    names = [each.name for each in prepared.plan.variants if each.is_peer]
    assert names == ["right (0)", "right (3)", "right (5)", "wrong (0)"]
    with pytest.raises(InvalidArgument, match="a draft length of peers is 0; it must be at least"):
        session.prepare(session.BenchRequest(**asked | {"peer_lengths": (0, 3)}))
