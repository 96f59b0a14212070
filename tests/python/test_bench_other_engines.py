"""Other engines in a run of `specbranch bench`; they are fakes."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.python.bench_runs import measure, small_request

from specbranch_cpp import Engine
from specbranch_cpp.bench import session
from specbranch_cpp.bench.statistics import summarize
from specbranch_cpp.errors import InvalidArgument


@pytest.fixture
def request_(pair: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    return small_request(pair, tmp_path)


@dataclass(frozen=True)
class FakePair:
    target: str
    draft: str | None
    n_ctx: int
    n_threads: int
    cpus: tuple[int, ...] | None
    n_gpu_layers: int = 0
    draft_n_gpu_layers: int = 0


@dataclass(frozen=True)
class FakeResult:
    tokens: tuple[int, ...]
    prefill_ms: float = 1.0
    decode_ms: float = 2.0
    n_drafted: int | None = None
    n_accepted: int | None = None


class FakePeers(types.ModuleType):
    """Stands for `specbranch_cpp.bench.peers`. Its engine decodes right, wrong, or dies."""

    NAMES = ("right", "wrong", "dying", "missing")
    PeerPair = FakePair

    class PeerMissing(Exception):  # noqa: N818
        pass

    def __init__(self) -> None:
        super().__init__("specbranch_cpp.bench.peers")
        self.opened: list[tuple[str, FakePair]] = []
        self.asked: list[tuple[str, int]] = []

    @contextmanager
    def open_peer(self, name: str, pair: FakePair) -> Iterator[FakePeer]:
        if name == "missing":
            raise self.PeerMissing("pip install missing")
        self.opened.append((name, pair))
        with Engine(pair.target, n_ctx=pair.n_ctx, n_threads=1) as engine:
            yield FakePeer(name, engine, self)


class FakePeer:
    version = "7.1"

    def __init__(self, name: str, engine: Engine, peers: FakePeers) -> None:
        self.draft_lengths = (0,) if name == "wrong" else (0, 4)
        self._name, self._engine, self._peers = name, engine, peers

    def generate(self, tokens: Sequence[int], max_tokens: int, draft_length: int) -> FakeResult:
        self._peers.asked.append((self._name, draft_length))
        if self._name == "dying":
            raise RuntimeError("it died")
        done = self._engine.generate(tokens, max_tokens=max_tokens).result()
        if self._name == "wrong":
            return FakeResult((*done.tokens[:2], done.tokens[2] + 1))
        end = self._engine.eos_token
        assert end is not None
        return FakeResult((*done.tokens, end))  # as engines do that give the end token too


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> FakePeers:
    made = FakePeers()
    monkeypatch.setitem(sys.modules, made.__name__, made)
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
    timed = [r for r in found if r.get("contender") == "right (0)" and r["kind"] == "generation"]
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
    assert (skip["contender"], skip["reason"]) == ("dying", "it died")
    assert peers.asked.count(("dying", 0)) + peers.asked.count(("dying", 4)) == 1


@pytest.mark.usefixtures("peers")
def test_peers_that_are_asked_for_by_name(request_: dict[str, Any]) -> None:
    prepared = session.prepare(session.Request(**request_ | {"peers": "wrong"}))
    assert [each.name for each in prepared.plan.contenders if each.is_peer] == ["wrong (0)"]
    with pytest.raises(InvalidArgument, match="missing: pip install missing"):
        session.prepare(session.Request(**request_ | {"peers": "wrong,missing"}))
    with pytest.raises(InvalidArgument, match="peer is 'other'; it must be one of all, none"):
        session.prepare(session.Request(**request_ | {"peers": "other"}))


def test_without_the_module_there_are_no_peers(
    request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "specbranch_cpp.bench.peers", None)
    prepared = session.prepare(session.Request(**request_ | {"peers": "all"}))
    assert not any(each.is_peer for each in prepared.plan.contenders)
    with pytest.raises(InvalidArgument, match="'right'"):
        session.prepare(session.Request(**request_ | {"peers": "right"}))
