"""The command: measures what is not yet measured, and writes the report."""

from __future__ import annotations

import argparse
import math
import random
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.server_clients import contenders, http_client, report
from benchmarks.server_clients.contenders import Contender, Server

from specbranch_cpp._support.files import replace_file
from specbranch_cpp.bench import clients, crowd, machine, records
from specbranch_cpp.bench.records import RecordFile
from specbranch_cpp.errors import InvalidArgument, SpecBranchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from specbranch_cpp.bench.clients import ClientsPlan

FORMAT = "specbranch-server-clients-1"
RECORDS = "server-clients.jsonl"
REPORT = "server-clients.md"
_WARM_UP_TOKENS = 32


@dataclass(frozen=True)
class Turn:
    """One contender with so many clients, in one round."""

    round: int
    n_clients: int
    contender: Contender

    @property
    def key(self) -> str:
        return f"{self.round} {self.n_clients} {self.contender.name}"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.server_clients",
        description=sys.modules["benchmarks.server_clients"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N")
    parser.add_argument(
        "--parallel", type=int, metavar="N", help="default: the largest number of clients"
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3; two give an interval")
    parser.add_argument("--prompts", type=Path, nargs="+", default=[], metavar="JSONL")
    parser.add_argument("--n-prompts", type=int, default=16, help="of each file; default: 16")
    parser.add_argument("--tokens", type=int, default=64, help="of each text; default: 64")
    parser.add_argument(
        "-c", "--ctx-size", type=int, default=2048, metavar="N", help="of each text; default: 2048"
    )
    parser.add_argument(
        "--placement", help="shared, split or gpu, as in specbranch bench; default: gpu if possible"
    )
    parser.add_argument(
        "--draft-lengths", type=int, nargs="*", default=[0, 3], metavar="L",
        help="of llama-server, each with a process of its own; 0: no draft; default: 0 3; nothing: "
        "llama-server is not measured",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of the prompts and orders")
    parser.add_argument(
        "--stop-after", type=float, metavar="SECONDS",
        help="begin no measurement later; the next command continues",
    )  # fmt: skip
    return parser


def turns(plan: ClientsPlan, everyone: Sequence[Contender], n_rounds: int) -> Iterator[Turn]:
    """All turns, in their order. A round has the same order in longer runs."""
    for number in range(n_rounds):
        draw = random.Random(f"{plan.seed} {number}")
        for n_clients in draw.sample(plan.clients, len(plan.clients)):
            for contender in draw.sample(everyone, len(everyone)):
                yield Turn(number, n_clients, contender)


def prepare(
    args: argparse.Namespace, command: str
) -> tuple[ClientsPlan, list[Contender], records.Record]:
    """The checked plan, the contenders, and the header of the records.

    Raises:
        InvalidArgument: a value is out of its range, or impossible on this machine.
    """
    for length in args.draft_lengths:
        if length < 0:
            raise InvalidArgument(f"a draft length is {length}; it must be at least 0")
    plan, header = clients.prepare(
        clients.ClientsRequest(
            pair=(args.target, args.draft),
            clients=tuple(args.clients),
            parallel=None if args.parallel is None else (args.parallel,),
            prompts=tuple(args.prompts),
            n_prompts=args.n_prompts,
            tokens=args.tokens,
            placement=args.placement,
            repeat=args.rounds,
            n_ctx=args.ctx_size,
            seed=args.seed,
        ),
        command,
    )
    if plan.placement.peer is None:
        raise InvalidArgument(
            f"placement is {plan.placement.name!r}, which llama-server does not have; "
            "use shared, split or gpu"
        )
    everyone = contenders.all_contenders(plan.parallel[0], args.draft_lengths)
    # A run may continue with more rounds, and at another load.
    del header["load_average"], header["plan"]["repeat"]
    header["contenders"] = [asdict(contender) for contender in everyone]
    return plan, everyone, header


def measure(
    plan: ClientsPlan,
    everyone: Sequence[Contender],
    servers: Mapping[Contender, Server],
    file: RecordFile,
    *,
    end: float = math.inf,
) -> None:
    """Measures the turns that are not in the file.

    Args:
        plan: the plan.
        everyone: the contenders.
        servers: their servers.
        file: gets the turns.
        end: no turn begins at this time of `time.monotonic` or later.

    Raises:
        InvalidArgument: a prompt does not fit into the context.
        ReplyError: a server refused or died.
    """
    some = servers[everyone[0]]
    prompts = [http_client.tokenize(some.url, text) for text in plan.texts]
    for text, tokens in zip(plan.texts, prompts, strict=True):
        clients.check_room(text, len(tokens), plan.tokens, plan.n_ctx)
    file.add(
        "begin",
        part=file.part,
        at=records.timestamp(),
        load=machine.load_average(),
        servers={name.name: dict(server.about) for name, server in servers.items()},
    )
    n_most = max(plan.clients)
    for contender in everyone:  # first texts are slower: cold memory, and rates not yet learned
        n_tokens = min(plan.tokens, _WARM_UP_TOKENS)
        _load(servers[contender], contender, n_most, prompts[:n_most], n_tokens)
    every = list(turns(plan, everyone, plan.repeat))
    for number, turn in enumerate(every):
        if file.has(turn.key):
            continue
        if time.monotonic() >= end:
            return
        _progress(number, len(every), f"{turn.n_clients} clients, {turn.contender.name}")
        server = servers[turn.contender]
        others = [each for each in set(servers.values()) if each is not server]
        before = sum(each.cpu_seconds() for each in others)
        waits = _load(server, turn.contender, turn.n_clients, prompts, plan.tokens)
        file.add(
            "turn",
            key=turn.key,
            round=turn.round,
            n_clients=turn.n_clients,
            contender=turn.contender.name,
            others_cpu_s=round(sum(each.cpu_seconds() for each in others) - before, 2),
            **asdict(waits),
        )
    _progress(len(every), len(every), "done")


def _load(
    server: Server,
    contender: Contender,
    n_clients: int,
    prompts: Sequence[list[int]],
    n_tokens: int,
) -> crowd.Waits:
    """All prompts, once."""

    def ask(number: int) -> crowd.Answer:
        return http_client.complete(server.url, prompts[number], n_tokens, contender.fields)

    try:
        return crowd.ask_all(n_clients, len(prompts), ask)
    except (OSError, http_client.ReplyError) as error:
        raise http_client.ReplyError(
            f"{contender.name}, {n_clients} clients: {error}{server.last_words()}"
        ) from error


def _progress(n_done: int, n_turns: int, what: str) -> None:
    print(f"\r{n_done} of {n_turns}: {what:<50}", end="", file=sys.stderr, flush=True)


def run(args: argparse.Namespace, command: str = "") -> str:
    """Measures, writes ``DIR/server-clients.jsonl`` and ``.md``, and returns the report."""
    end = time.monotonic() + (math.inf if args.stop_after is None else args.stop_after)
    plan, everyone, header = prepare(args, command)
    with RecordFile(args.output, header, name=RECORDS, format_name=FORMAT) as file:
        every = list(turns(plan, everyone, plan.repeat))
        if not all(file.has(turn.key) for turn in every):
            with ExitStack() as stack:
                servers = contenders.start_all(everyone, plan, stack)
                measure(plan, everyone, servers, file, end=end)
        n_missing = sum(not file.has(turn.key) for turn in every)
        text = report.markdown(file.records, n_missing)
    replace_file(args.output / REPORT, text.encode())
    return text


def main(argv: Sequence[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    words = ["python", "-m", "benchmarks.server_clients", *(sys.argv[1:] if argv is None else argv)]
    try:
        text = run(args, shlex.join(words))
    except (OSError, SpecBranchError) as error:
        raise SystemExit(f"error: {error}") from error
    print(file=sys.stderr)
    print(text, end="")
