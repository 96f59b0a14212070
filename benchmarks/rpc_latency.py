"""Speed of a pair whose target is on another host, by latency; and what the simulator says of it.

    python -m benchmarks.rpc_latency TARGET DRAFT [--latencies 0 1 5] [--json FILE]

Each other host is a network namespace (needs root and `ip`; otherwise a process on this host) with
`specbranch rpc-serve` in it. `tc netem` adds the latency to a round trip; where the kernel has no
netem, a relay does (`delaying_relay.py`), also where the latency is 0: it takes time itself. The
draft stays here, so that drafting hides the network. There is a host for each latency, and the
engines take turns, text by text, so that a disturbance of this machine meets all of them.

Every mode decodes the same prompts (`validate_simulator.py`). "Simulated": the simulator gets the
step times of these texts. "Predicted": it gets the step times at the first latency, and adds what
a round trip takes longer. Needs a llama.cpp with its RPC backend. The exit code is 1 if a predicted
speed is off by more than the tolerance.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import validate_simulator as simulator

from specbranch_cpp import Engine
from specbranch_cpp._rpc.addresses import Address
from specbranch_cpp._rpc.handshake import ask_server
from specbranch_cpp.errors import ModelLoadError
from specbranch_cpp.simulation import Setting

PORT = 50052
_TRIPS = 200
_START_S = 60.0


def run(*words: str) -> bool:
    """Runs a command; whether it succeeded."""
    with contextlib.suppress(OSError):
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    return False


@contextlib.contextmanager
def namespace(number: int) -> Iterator[tuple[str, str, str] | None]:
    """The name, the address and our link of a new namespace. ``None``: there can be none."""
    name = f"rpc{os.getpid()}n{number}"
    link, peer = f"{name}a"[-15:], f"{name}b"[-15:]
    here, there = (f"10.213.{100 + number}.{each}" for each in (1, 2))
    inside = ("ip", "-n", name)
    try:
        is_made = run("ip", "netns", "add", name) and all(
            run(*words)
            for words in (
                ("ip", "link", "add", link, "type", "veth", "peer", "name", peer, "netns", name),
                ("ip", "addr", "add", f"{here}/30", "dev", link),
                ("ip", "link", "set", link, "up"),
                (*inside, "addr", "add", f"{there}/30", "dev", peer),
                (*inside, "link", "set", peer, "up"),
            )
        )
        yield (name, there, link) if is_made else None
    finally:
        run("ip", "link", "del", link)
        run("ip", "netns", "del", name)


@contextlib.contextmanager
def worker(address: Address, prefix: Sequence[str]) -> Iterator[None]:
    """A worker at this address, with one thread."""
    command = [sys.executable, "-m", "specbranch_cpp", "rpc-serve", "--threads", "1"]
    command += ["--host", address.host, "--port", str(address.port)]
    process = subprocess.Popen(
        [*prefix, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + _START_S
        while True:
            try:
                ask_server(address)
                break
            except ModelLoadError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def relay(to: Address, delay_ms: float, pinned: Sequence[str]) -> Iterator[Address]:
    """The address of a relay with this delay in each direction."""
    program = Path(__file__).with_name("delaying_relay.py")
    words = [to.host, str(to.port), "--delay-ms", str(delay_ms)]
    process = subprocess.Popen(
        [*pinned, sys.executable, str(program), *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield Address("127.0.0.1", int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def other_host(number: int, latency_ms: float, cpus: str | None) -> Iterator[Address]:
    """The address of a worker on a host of its own, with this latency in a round trip."""
    pinned = ["taskset", "-c", cpus] if cpus else []
    with namespace(number) as made:
        address, prefix, delayed = Address("127.0.0.1", PORT + number), [], False
        if made is not None:
            name, there, link = made
            address, prefix = Address(there, PORT), ["ip", "netns", "exec", name]
            delay = ("netem", "delay", f"{latency_ms}ms")
            delayed = run("tc", "qdisc", "add", "dev", link, "root", *delay)
        way = "netem" if delayed else "a relay"
        print(f"{latency_ms:g} ms: {'a namespace' if made else 'a process here'}, through {way}")
        with worker(address, [*prefix, *pinned]):
            if delayed:
                yield address
            else:
                with relay(address, latency_ms / 2, pinned) as before:
                    yield before


def round_trip_us(address: Address) -> float:
    """What a worker needs to answer a question about itself: the median."""
    times = []
    with socket.create_connection((address.host, address.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection.makefile("rb") as stream:
            connection.sendall(struct.pack("<BQ24x", 14, 24))
            stream.read(36)
            for _ in range(_TRIPS):
                begin = time.perf_counter()
                connection.sendall(struct.pack("<BQ", 15, 0))
                stream.read(12)
                times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def new_engine(address: Address | None, args: argparse.Namespace) -> Engine:
    """``None``: the target is here, with the kernels of a worker."""
    return simulator.new_engine(
        args,
        rpc_servers=None if address is None else [str(address)],
        use_extra_bufts=address is not None,
    )


Runs = list[simulator.Run]


def decode(
    engines: Mapping[float | None, Engine], args: argparse.Namespace
) -> dict[float | None, tuple[Runs, Runs]]:
    """The texts of all settings, and chains of all lengths, by engine; the engines take turns."""
    chosen = simulator.chosen_settings(args)
    chains = [Setting("speculative", gamma) for gamma in range(1, max(args.lengths) + 1)]
    for engine in engines.values():  # not counted: the first run of a shape builds its graph
        for setting in (*chosen, *chains):
            simulator.generate(engine, setting, 0, args)
        # `auto` learns from what it decodes, and the simulator tells what it reaches then.
        for prompt in range(args.prompts if args.auto else 0):
            simulator.generate(engine, chosen[-1], prompt, args)
    found: dict[float | None, tuple[Runs, Runs]] = {name: ([], []) for name in engines}
    for repeat in range(args.repeats):
        for prompt in range(args.prompts):
            for setting in chosen if (repeat + prompt) % 2 == 0 else chosen[::-1]:
                for name, engine in engines.items():
                    found[name][0].append(simulator.generate(engine, setting, prompt, args))
    for prompt in (0, 1):
        for setting in chains:
            for name, engine in engines.items():
                found[name][1].append(simulator.generate(engine, setting, prompt, args))
    return found


def farther(measured: simulator.Measured, us: float) -> simulator.Measured:
    """The same with more time in every step of the target."""
    return replace(measured, target_us=tuple(each + us for each in measured.target_us))


def compare(
    runs: Sequence[simulator.Run], own: simulator.Measured, predicted: simulator.Measured
) -> list[dict[str, Any]]:
    """Speeds of all settings in tokens per second, and what the simulator says.

    Args:
        runs: the texts.
        own: the step times of these texts.
        predicted: those of the texts at another latency, and what a round trip takes longer.
    """
    from_own, from_predicted = simulator.rows(runs, own), simulator.rows(runs, predicted)
    found = []
    for row, other in zip(from_own, from_predicted, strict=True):
        values: Any = row, other
        measured, simulated, foretold = (
            1000.0 / values[which][f"{kind}_ms_per_token"]
            for which, kind in ((0, "measured"), (0, "simulated"), (1, "simulated"))
        )
        found.append(
            {
                "setting": str(row["setting"]),
                "measured_tokens_per_s": measured,
                "measured_gain": row["measured_speedup"],
                "simulated_tokens_per_s": simulated,
                "simulated_ratio": simulated / measured,
                "predicted_tokens_per_s": foretold,
                "predicted_ratio": foretold / measured,
            }
        )
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| round trip | setting | tokens/s | gain | simulated | ratio | predicted | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found:
        place = "here" if row["latency_ms"] is None else f"{row['latency_ms']:g} ms"
        lines.append(
            "| {place} | {setting} | {measured_tokens_per_s:.1f} | {measured_gain:.2f} | "
            "{simulated_tokens_per_s:.1f} | {simulated_ratio:.3f} | {predicted_tokens_per_s:.1f} | "
            "{predicted_ratio:.3f} |".format(place=place, **row)
        )
    return "\n".join(lines)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="and the options of validate_simulator.py",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--latencies", type=float, nargs="+", default=[0.0, 1.0, 5.0])
    parser.add_argument("--worker-cpus", help="of workers and relays, as of taskset; default: any")
    parser.add_argument("--json", type=Path, help="append what was measured and every row")
    own, rest = parser.parse_known_args(argv)
    args = simulator.parse(rest)
    for name in ("latencies", "worker_cpus", "json"):
        setattr(args, name, getattr(own, name))
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the other hosts are taken down
    trips: dict[float | None, float] = {None: 0.0}
    with contextlib.ExitStack() as stack:
        engines: dict[float | None, Engine] = {None: stack.enter_context(new_engine(None, args))}
        for number, latency in enumerate(args.latencies):
            host = other_host(number, latency, args.worker_cpus)
            address = stack.enter_context(host)
            trips[latency] = round_trip_us(address)
            engines[latency] = stack.enter_context(new_engine(address, args))
        runs = decode(engines, args)
    measured = {name: simulator.understand(*each) for name, each in runs.items()}
    heads: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    first = args.latencies[0]
    for name, each in measured.items():
        where = "here" if name is None else f"{name:g} ms, round trip {trips[name]:.0f} us"
        print(f"{where}: target, us by tokens: {', '.join(f'{us:.0f}' for us in each.target_us)}")
        heads.append({"latency_ms": name, "round_trip_us": trips[name], **asdict(each)})
        known = each
        if name is not None:
            known = farther(measured[first], trips[name] - trips[first])
        rows = compare(runs[name][0], each, known)
        found += [{"latency_ms": name, **row} for row in rows]
    print(table(found))
    if args.json:
        names = {"target": args.target.name, "draft": args.draft.name, "tokens": args.tokens}
        with args.json.open("a") as file:
            for line in (names, *heads, *found):
                file.write(json.dumps(line) + "\n")
    off = [row for row in found if abs(row["predicted_ratio"] - 1.0) > args.tolerance]
    for row in off:
        print(f"off by more than {args.tolerance:.0%}: {row['latency_ms']} ms, {row['setting']}")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
