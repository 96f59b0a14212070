"""Several clients at once: what is measured, the figures, and how a run ends."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.bench_runs import PROMPTS, write_prompts

from specbranch_cpp import DecodeError, Engine, InvalidArgument
from specbranch_cpp.bench import clients, clients_report
from specbranch_cpp.bench.clients import ClientsRequest, ClientsRun, Load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def request_of_two(pair: tuple[Path, Path], tmp_path: Path) -> ClientsRequest:
    return ClientsRequest(
        pair, (1, 2), prompts=(write_prompts(tmp_path),), tokens=6, n_ctx=128, repeat=2
    )


def test_every_load_is_measured_in_every_round(request_of_two: ClientsRequest) -> None:
    plan, header = clients.prepare(replace(request_of_two, parallel=(1, 2)))
    assert plan.texts == PROMPTS
    assert len(plan.loads) == 8
    assert plan.loads[0] == Load(1, 1, "autoregressive")
    assert plan.round(0) != plan.round(1)
    assert set(plan.round(0)) == set(plan.loads)
    runs: list[ClientsRun] = []
    told: list[tuple[int, int]] = []
    clients.measure(plan, runs.append, lambda n, of, _: told.append((n, of)))
    assert told == [(n, 16) for n in range(17)]
    for run in runs:
        # All texts are as long as they may be, also those that would end.
        assert run.n_tokens == 6 * len(PROMPTS)
        assert len(run.first_s) == len(run.longest_s) == len(PROMPTS)
        assert len(run.between_s) == 5 * len(PROMPTS)
        assert max(run.between_s) == max(run.longest_s)
        assert 0.0 < max(run.first_s) < run.seconds
    rows = clients_report.rows(plan, runs)
    assert [Load(row.n_clients, row.n_parallel, row.mode) for row in rows] == plan.loads
    assert [row.ratio for row in rows if row.mode == "autoregressive" and row.n_parallel == 1] == [
        1.0, 1.0,
    ]  # fmt: skip
    for row in rows:
        assert (row.n_texts, row.n_tokens) == (6, 36)
        assert len(row.rounds) == 2
        assert min(row.rounds) <= row.tokens_per_s <= max(row.rounds)
        if row.mode == "autoregressive":  # `auto` may draft or not
            assert row.acceptance is None
    # Rounds that are not complete give no figures.
    assert clients_report.rows(plan, runs[:8]) == []
    text = clients_report.markdown(json.loads(json.dumps(header)), rows)
    assert text.count("\n| ") == 2 + len(rows)
    assert "demo-target.gguf + demo-draft.gguf" in text or plan.pair.name in text


def made(n_clients: int, mode: str, seconds: float, first: list[float], **more: Any) -> ClientsRun:
    given = {
        "round": 0, "n_parallel": 4, "n_tokens": 100, "between_s": (), "longest_s": (),
        "n_drafted": 0, "n_accepted": 0,
    }  # fmt: skip
    return ClientsRun(
        n_clients=n_clients, mode=mode, seconds=seconds, first_s=tuple(first), **{**given, **more}
    )


def test_the_figures(request_of_two: ClientsRequest) -> None:
    plan, _ = clients.prepare(replace(request_of_two, clients=(1, 3), parallel=(4,), repeat=1))
    waits = [n / 100 for n in range(1, 101)]
    rows = clients_report.rows(
        plan,
        [
            made(1, "autoregressive", 10.0, [0.3, 0.1, 0.2]),
            made(1, "auto", 5.0, [0.1], n_drafted=40, n_accepted=30),
            made(3, "autoregressive", 4.0, [0.1]),
            made(3, "auto", 8.0, [0.1], between_s=tuple(waits), longest_s=(1.0,)),
        ],
    )
    assert [row.tokens_per_s for row in rows] == [10.0, 20.0, 25.0, 12.5]
    assert [row.ratio for row in rows] == [1.0, 2.0, 1.0, 0.5]
    assert rows[0].first_s == clients_report.Percentiles(0.2, 0.3)
    assert rows[0].between_s is None
    assert rows[3].between_s == clients_report.Percentiles(0.5, 0.95)
    assert rows[1].acceptance == 0.75
    assert clients_report.cells(rows[1]) == [
        "1", "4", "auto", "20.0", "2.00", "100 / 100", "", "", "75 %",
    ]  # fmt: skip
    assert clients_report.cells(rows[3])[6:8] == ["500 / 950", "1000 / 1000"]


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([7.0], 0.5, 7.0), ([1.0, 2.0], 0.5, 1.0), ([3.0, 1.0, 2.0], 0.5, 2.0),
     ([1.0, 2.0], 0.95, 2.0), ([float(n) for n in range(20)], 0.95, 18.0)],
)  # fmt: skip
def test_percentiles(values: list[float], share: float, found: float) -> None:
    assert clients_report.percentile(values, share) == found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clients": ()}, "the number of clients is missing"),
        ({"clients": (0,)}, "number of clients is 0; it must be in 1 .. 256"),
        ({"clients": (257,)}, "number of clients is 257; it must be in 1 .. 256"),
        ({"clients": (2, 4)}, "the number of clients is 4; it must be at most the number of pro"),
        ({"parallel": (17,)}, "n_parallel is 17; it must be in 1 .. 16"),
        ({"modes": ("warp",)}, "mode is 'warp'; it must be one of"),
        ({"tokens": 0}, "number of tokens is 0; it must be in 1"),
        ({"repeat": 0}, "number of repeats is 0; it must be in 1"),
        ({"n_prompts": 0}, "number of prompts is 0; it must be in 1"),
        ({"temperature": -1.0}, "temperature is -1; it must be at least 0"),
        ({"temperature": float("nan")}, "temperature is nan; it must be at least 0"),
        ({"placement": "moon"}, "placement is 'moon'; it must be one of"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_wrong_value_is_named(
    request_of_two: ClientsRequest, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words):
        clients.prepare(replace(request_of_two, **changes))


def test_without_a_draft(request_of_two: ClientsRequest) -> None:
    alone = replace(request_of_two, pair=(request_of_two.pair[0], None), repeat=1, clients=(2,))
    with pytest.raises(InvalidArgument, match="mode is 'pearl'; it needs a draft model"):
        clients.prepare(replace(alone, modes=("pearl",)))
    runs: list[ClientsRun] = []
    clients.measure(clients.prepare(alone)[0], runs.append)
    assert sorted(run.mode for run in runs) == ["auto", "autoregressive"]


def test_a_prompt_that_does_not_fit_is_named(request_of_two: ClientsRequest) -> None:
    plan, _ = clients.prepare(replace(request_of_two, tokens=127))
    with pytest.raises(InvalidArgument, match=r"the prompt 'def add\(a, b\):.* --ctx-size"):
        clients.measure(plan, lambda _: None)


def test_an_error_of_one_client_ends_the_run(
    request_of_two: ClientsRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = clients.prepare(request_of_two)
    real = Engine.generate
    n_calls = 0

    def failing(self: Engine, prompt: Any, **options: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 5:
            raise DecodeError("the machine is on fire")
        return real(self, prompt, **options)

    monkeypatch.setattr(Engine, "generate", failing)
    runs: list[ClientsRun] = []
    with pytest.raises(DecodeError, match="on fire"):
        clients.measure(plan, runs.append)
    assert len(runs) == 1


def test_the_records(tmp_path: Path) -> None:
    run = made(1, "auto", 2.0, [0.5])
    with clients_report.ClientsFile(tmp_path / "a", {"made": "today"}) as file:
        file.add(run)
    header, line = map(json.loads, file.path.read_text().splitlines())
    assert header == {"kind": "header", "format": "specbranch-clients-1", "made": "today"}
    assert line == {"kind": "run", **json.loads(json.dumps(asdict(run)))}
    with pytest.raises(InvalidArgument, match=r"clients\.jsonl exists; runs with --clients do not"):
        clients_report.ClientsFile(tmp_path / "a", {})
    with clients_report.ClientsFile(tmp_path / "b", {}) as empty:
        pass
    assert not empty.path.exists()


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(tmp_path: Path) -> None:
    run = made(1, "auto", 2.0, [0.5])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with clients_report.ClientsFile(tmp_path, {}) as file:
        file.add(run)
        whole = file.path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                file.add(run)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert file.path.read_bytes() == whole
        file.add(run)
    assert len(file.path.read_text().splitlines()) == 3
