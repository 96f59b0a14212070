"""The benchmark of several clients over HTTP: its requests, its order, its figures, whole runs."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support import fake_completions
from tests.python.support.bench_runs import PROMPTS, write_prompts
from tests.python.support.fake_completions import event, last_event

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.server_clients import command, contenders, http_client, report  # noqa: E402
from benchmarks.server_clients.contenders import AUTO, Server, all_contenders  # noqa: E402

from specbranch_cpp import InvalidArgument  # noqa: E402
from specbranch_cpp.bench.records import RecordFile  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.python.support.fake_completions import FakeServer

    from specbranch_cpp.bench.records import Record

TOKENS = 6


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_completions.serving() as fake:
        yield fake


def arguments(pair: tuple[Path, Path], folder: Path, *more: str) -> list[str]:
    return [*map(str, pair), "-o", str(folder / "out"), "--prompts", str(write_prompts(folder)),
            "--clients", "1", "2", "--tokens", str(TOKENS), "-c", "128", "--rounds", "2",
            "--placement", "shared", "--draft-lengths", *more]  # fmt: skip


# --- requests ---


def test_each_piece_has_the_time_of_the_read_that_completes_it(fake: FakeServer) -> None:
    first, second = event(content="a", stop=False), event(content="\u00e4\u00f6", stop=False)
    last = last_event(3, draft_n=5, draft_n_accepted=2)
    empty = event(content="", stop=False)
    fake.parts = [first[:9], first[9:] + second + b": a comment\n\n" + empty, last[:-1], last[-1:]]
    answer = http_client.complete(fake.url, [1, 2], 3, {"mode": "auto"})
    sent, *times = answer.times
    assert len(times) == 2
    assert sent < times[0] <= times[1]
    assert (answer.n_tokens, answer.n_drafted, answer.n_accepted) == (3, 5, 2)
    assert fake.asked == [
        {"prompt": [1, 2], "n_predict": 3, "temperature": 0.0, "ignore_eos": True,
         "cache_prompt": False, "stream": True, "mode": "auto"}
    ]  # fmt: skip


def test_events_are_cut_out_of_reads() -> None:
    one, two = event(content="a"), event(content="b")
    found = http_client._events([(1.0, one[:3]), (2.0, one[3:] + two), (3.0, b": \n\n")])
    assert found == [(2.0, {"content": "a"}), (2.0, {"content": "b"})]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([event(content="a", stop=False)], "ended before its last event"),
        ([event(content="a", stop=False), last_event(1)], "1 tokens in 1 pieces; 2 tokens were"),
        ([last_event(2)], "2 tokens in 0 pieces; 2 tokens were asked for"),
        ([event(error={"message": "out of cells"})], "broke off: .*out of cells"),
        ([b'error: {"message": "out of cells"}\n\n'], "broke off: .*out of cells"),
    ],
)
def test_a_stream_that_is_not_what_was_asked_for(
    fake: FakeServer, parts: list[bytes], words: str
) -> None:
    fake.parts = parts
    with pytest.raises(http_client.ReplyError, match=words):
        http_client.complete(fake.url, [1], 2, {})


def test_a_refusal_is_quoted(fake: FakeServer) -> None:
    fake.status, fake.parts = 503, [b"no room today"]
    with pytest.raises(http_client.ReplyError, match="/completion replied 503: no room today"):
        http_client.complete(fake.url, [1], 2, {})


# --- order ---


def test_every_round_has_everything_once_in_an_order_of_its_own(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    args = command.make_parser().parse_args(arguments(pair, tmp_path, "0", "3", "3"))
    plan, everyone, _ = command.prepare(args, "")
    assert [each.name for each in everyone] == [
        "queue", "autoregressive", "auto", "llama-server", "llama-server, draft 3",
    ]  # fmt: skip
    assert [each.n_parallel for each in everyone] == [1, 2, 2, 2, 2]
    long = list(command.turns(plan, everyone, 40))
    assert long[:20] == list(command.turns(plan, everyone, 2))
    assert len({turn.key for turn in long}) == len(long) == 40 * 2 * 5
    first: Counter[str] = Counter()
    for at in range(0, len(long), 5):
        together = long[at : at + 5]
        # What is compared follows one another.
        assert len({(turn.round, turn.n_clients) for turn in together}) == 1
        assert {turn.contender.name for turn in together} == {each.name for each in everyone}
        first[together[0].contender.name] += 1
    assert len(first) == 5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-1",), "a draft length is -1; it must be at least 0"),
        (("--clients", "4"), "the number of clients is 4; it must be at most the number of prom"),
        (("--parallel", "17"), "n_parallel is 17; it must be in 1 .. 16"),
        (("--rounds", "0"), "number of repeats is 0"),
    ],
)
def test_a_wrong_value_is_named(
    pair: tuple[Path, Path], tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    args = command.make_parser().parse_args(arguments(pair, tmp_path, *more))
    with pytest.raises(InvalidArgument, match=words):
        command.prepare(args, "")


# --- figures ---


def made(number: int, n_clients: int, name: str, seconds: float, **more: Any) -> Record:
    return {
        "kind": "turn", "round": number, "n_clients": n_clients, "contender": name,
        "seconds": seconds, "n_tokens": 100, "first_s": [0.1, 0.2, 0.3], "between_s": [0.01, 0.03],
        "longest_s": [0.03], "n_drafted": 0, "n_accepted": 0, "others_cpu_s": 0.0, **more,
    }  # fmt: skip


def records_of(turns: Sequence[Record]) -> list[Record]:
    header = {
        "kind": "header",
        "plan": {
            "clients": [1, 4], "parallel": [4], "n_prompts": 3, "tokens": 9,
            "pair": {"target": {"name": "t.gguf"}, "draft": {"name": "d.gguf"}},
            "placement": {"name": "shared"},
        },
        "machine": {"cpu": "abacus", "cpus": [0, 1]},
        "made": "today",
        "contenders": [asdict(each) for each in all_contenders(4, [0, 3])],
    }  # fmt: skip
    server = {"version": "x 1", "system_info": "AVX", "usual_draft_length": 16}
    begin = {"kind": "begin", "part": 0, "load": 0.5, "servers": {"llama-server": server}}
    return [header, begin, *turns]


def two_rounds() -> list[Record]:
    seconds = {
        "queue": (10.0, 10.0), "autoregressive": (4.0, 6.0), "auto": (4.0, 4.0),
        "llama-server": (8.0, 8.0), "llama-server, draft 3": (20.0, 12.0),
    }  # fmt: skip
    return [made(i, 4, name, each[i]) for name, each in seconds.items() for i in range(2)]


def test_the_figures() -> None:
    turns = two_rounds()
    turns[4] |= {"n_drafted": 40, "n_accepted": 10}  # auto
    # A round that is not complete does not count, and 1 client has none that is.
    turns += [made(2, 4, "auto", 0.1), made(0, 1, "auto", 0.1)]
    rows = report.rows(records_of(turns))
    assert [row.contender for row in rows] == [
        "queue", "autoregressive", "auto", "llama-server", "llama-server, draft 3",
    ]  # fmt: skip
    assert {row.n_clients for row in rows} == {4}
    assert [row.tokens_per_s for row in rows] == [10.0, 20.0, 25.0, 12.5, 6.25]
    assert rows[1].rounds == (25.0, 100.0 / 6.0)
    assert [row.over_queue.total for row in rows] == [1.0, 2.0, 2.5, 1.25, 0.625]
    assert rows[0].over_queue.interval is None
    same = rows[2].over_queue.interval  # every round has this ratio
    assert same is not None
    assert [same.low, same.high] == pytest.approx([2.5, 2.5])
    wide = rows[1].over_queue.interval
    assert wide is not None
    assert wide.low < 2.0 < wide.high
    assert rows[2].acceptance == 0.25
    assert rows[0].acceptance is None
    assert rows[0].cells() == [
        "4", "queue", "10.0", "1.00", "200 / 300", "10 / 30", "30 / 30", "",
    ]  # fmt: skip
    assert rows[2].cells()[3] == "2.50 (2.50 .. 2.50)"


def test_auto_is_compared_with_the_better_one_and_with_the_same_rounds() -> None:
    records = records_of(two_rounds())
    (own,) = report.versus(records, ["queue", "autoregressive"])
    assert (own.n_clients, own.best) == (4, "autoregressive")
    assert own.ratio.total == 1.25  # 200 tokens in 8 s to 200 tokens in 10 s
    (theirs,) = report.versus(records, ["llama-server", "llama-server, draft 3"])
    assert (theirs.best, theirs.ratio.total) == ("llama-server", 2.0)
    assert theirs.ratio.interval is not None
    assert math.isclose(theirs.ratio.interval.low, 2.0)
    assert report.versus(records, []) == []
    text = report.markdown(records, 7)
    assert text.count("\n| ") == 2 + 5
    assert "Not yet measured: 7 turns" in text
    assert "- x 1 (AVX)\n- llama-server's usual draft length is 16\n" in text
    *_, first, second = text.splitlines()
    assert first.startswith("- auto to the better of queue and autoregressive batches, 4 clients: "
                            "1.25 (")  # fmt: skip
    assert first.endswith(" of autoregressive")
    assert second == (
        "- auto to llama-server's better setting, 4 clients: 2.00 (2.00 .. 2.00) of llama-server"
    )


def test_the_time_of_a_process() -> None:
    def own() -> float:
        return sum(os.times()[:2])

    server = Server("", {}, SimpleNamespace(pid=os.getpid()))  # type: ignore[arg-type]
    sum(range(3_000_000))  # more than a tick of the clock
    before = own()
    assert before - 0.03 <= server.cpu_seconds() <= own() + 0.03
    assert server.cpu_seconds() > 0.0
    assert Server("").cpu_seconds() == 0.0


# --- whole runs ---


def test_a_run_stops_and_continues(
    pair: tuple[Path, Path],
    tmp_path: Path,
    fake: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = arguments(pair, tmp_path, "0")
    parse = command.make_parser().parse_args
    n_starts = 0

    def start_all(everyone: Any, *_: Any) -> dict[Any, Server]:
        nonlocal n_starts
        n_starts += 1
        about = {"version": "fake 1", "system_info": ""}
        return {each: Server(fake.url, about) for each in everyone}

    monkeypatch.setattr(contenders, "start_all", start_all)
    text = command.run(parse([*words, "--stop-after", "0"]))
    assert "Not yet measured: 16 turns." in text
    assert text.count("\n| ") == 2
    warm_up = len(fake.asked)
    assert warm_up == 4 * 2  # contenders, largest number of clients
    text = command.run(parse([*words, "--rounds", "1"]))
    assert len(fake.asked) == 2 * warm_up + 8 * len(PROMPTS)
    assert "Not yet measured" not in text
    assert text.count("\n| ") == 2 + 8
    text = command.run(parse(words))
    assert len(fake.asked) == 3 * warm_up + 16 * len(PROMPTS)
    assert n_starts == 3
    assert command.run(parse(words)) == text  # nothing is left to be measured
    assert n_starts == 3
    assert (tmp_path / "out" / command.REPORT).read_text(encoding="utf-8") == text
    modes = Counter((body.get("mode"), body.get("top_k")) for body in fake.asked[-96:])
    assert set(modes) == {("auto", None), ("autoregressive", None), (None, 1)}
    prompts = {bytes(body["prompt"]).decode() for body in fake.asked}
    assert prompts == set(PROMPTS)
    with pytest.raises(InvalidArgument, match=r"belongs to another run.* plan tokens was 6 and is"):
        command.run(parse([*words, "--tokens", "5"]))


def test_a_server_that_refuses_ends_the_run_with_its_name(
    pair: tuple[Path, Path], tmp_path: Path, fake: FakeServer
) -> None:
    args = command.make_parser().parse_args(arguments(pair, tmp_path))
    plan, everyone, header = command.prepare(args, "")
    fake.parts = [b"data: {}\n\n"]
    process = SimpleNamespace(exit_status=-9, last_words=lambda: "; it said: ouch")
    server = Server(fake.url, {}, process)  # type: ignore[arg-type]
    with (
        RecordFile(tmp_path / "out", header, name="a.jsonl", format_name="a-1") as file,
        pytest.raises(http_client.ReplyError, match=r"^queue, 2 clients: .* -9; it said: ouch$"),
    ):
        command.measure(plan, everyone, dict.fromkeys(everyone, server), file)
    header_line = json.loads((tmp_path / "out/a.jsonl").read_text().splitlines()[0])
    assert header_line["format"] == "a-1"


def test_a_prompt_that_does_not_fit_is_named(
    pair: tuple[Path, Path], tmp_path: Path, fake: FakeServer
) -> None:
    args = command.make_parser().parse_args([*arguments(pair, tmp_path), "--tokens", "120"])
    plan, everyone, header = command.prepare(args, "")
    server = Server(fake.url)
    with (
        RecordFile(tmp_path / "out", header) as file,
        pytest.raises(InvalidArgument, match=r"the prompt 'def add\(a, b\):"),
    ):
        command.measure(plan, everyone, dict.fromkeys(everyone, server), file)
    assert fake.asked == []


def whole_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, list[Record]]:
    command.main(words)
    file = Path(words[words.index("-o") + 1]) / command.RECORDS
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return capsys.readouterr().out, [each for each in records if each["kind"] == "turn"]


def test_our_server(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, turns = whole_run(arguments(pair, tmp_path), capsys)
    assert len(turns) == 2 * 2 * 3
    for turn in turns:
        assert turn["n_tokens"] == TOKENS * len(PROMPTS)
        assert len(turn["first_s"]) == len(PROMPTS)
        assert 0.0 < max(turn["first_s"]) < turn["seconds"]
        assert turn["others_cpu_s"] >= 0.0
    assert {turn["n_drafted"] for turn in turns if turn["contender"] == "autoregressive"} == {0}
    assert text.count("\n| ") == 2 + 6
    lines = [line for line in text.splitlines() if line.startswith("- auto to")]
    assert [line.split(",")[1].split(":")[0] for line in lines] == [" 1 clients", " 2 clients"]


def test_llama_server(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    text, turns = whole_run(arguments(pair, tmp_path, "0", "3", "--rounds", "1"), capsys)
    assert len(turns) == 2 * 5
    for turn in turns:
        assert turn["n_tokens"] == TOKENS * len(PROMPTS)
        if turn["contender"] != AUTO and turn["contender"] != "queue":
            assert (turn["n_drafted"] > 0) == (turn["contender"] == "llama-server, draft 3")
    *_, last = text.splitlines()
    assert last.startswith("- auto to llama-server's better setting, 2 clients: ")
    assert "llama-server's usual draft length is" in text
