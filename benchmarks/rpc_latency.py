"""Speed of a pair whose target is on another host, by latency; and what the simulator says of it.

    python -m benchmarks.rpc_latency TARGET DRAFT [--latencies 0 1 5] [--json FILE]

The other host is a network namespace (needs root and `ip`; otherwise a process on this host), with
`specbranch rpc-serve` in it. `tc netem` adds the latency to a round trip; where the kernel has no
netem, a relay does (`delaying_relay.py`), also where the latency is 0: it takes time itself. The
draft stays here, so that drafting hides the network.

Every mode decodes the same prompts (`validate_simulator.py`). The simulator then gets the step
times that were measured at the first latency, and for the other latencies what a round trip takes
longer. Needs a llama.cpp with its RPC backend. The exit code is 1 if a mode's simulated speed is
off by more than the tolerance.
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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import validate_simulator as simulator

from specbranch_cpp import Engine
from specbranch_cpp._rpc.addresses import Address
from specbranch_cpp._rpc.handshake import ask_server
from specbranch_cpp.errors import ModelLoadError

HERE, THERE = "10.213.78.1", "10.213.78.2"
PORT = 50052
_TRIPS = 200
_START_S = 60.0


def run(*words: str) -> bool:
    """Runs a command; whether it succeeded."""
    with contextlib.suppress(OSError):
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    return False


class OtherHost:
    """A namespace with a link to this one, or this host itself. Use it in a ``with`` block."""

    def __init__(self) -> None:
        self.name = f"rpc{os.getpid()}"
        self._link, self._peer = f"{self.name}a", f"{self.name}b"
        self.is_namespace = False

    def __enter__(self) -> OtherHost:
        inside = ("ip", "-n", self.name)
        self.is_namespace = run("ip", "netns", "add", self.name) and all(
            run(*words)
            for words in (
                ("ip", "link", "add", self._link, "type", "veth",
                 "peer", "name", self._peer, "netns", self.name),
                ("ip", "addr", "add", f"{HERE}/30", "dev", self._link),
                ("ip", "link", "set", self._link, "up"),
                (*inside, "addr", "add", f"{THERE}/30", "dev", self._peer),
                (*inside, "link", "set", self._peer, "up"),
            )
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        run("ip", "link", "del", self._link)
        run("ip", "netns", "del", self.name)

    @property
    def address(self) -> Address:
        """Where its worker listens."""
        return Address(THERE if self.is_namespace else "127.0.0.1", PORT)

    @contextlib.contextmanager
    def worker(self, cpus: str | None) -> Iterator[None]:
        """A worker there, which is one thread."""
        prefix = ["ip", "netns", "exec", self.name] if self.is_namespace else []
        prefix += ["taskset", "-c", cpus] if cpus else []
        command = [sys.executable, "-m", "specbranch_cpp", "rpc-serve", "--threads", "1"]
        command += ["--host", self.address.host, "--port", str(self.address.port)]
        process = subprocess.Popen(
            prefix + command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            end = time.monotonic() + _START_S
            while process.poll() is None and time.monotonic() < end:
                with contextlib.suppress(ModelLoadError):
                    ask_server(self.address)
                    break
                time.sleep(0.05)
            yield
        finally:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def latency(self, ms: float) -> Iterator[Address]:
        """The address of the worker with this many milliseconds more in a round trip."""
        if self.is_namespace and run(
            "tc", "qdisc", "add", "dev", self._link, "root", "netem", "delay", f"{ms}ms"
        ):
            try:
                yield self.address
            finally:
                run("tc", "qdisc", "del", "dev", self._link, "root")
        else:
            with self._relay(ms / 2) as address:
                yield address

    @contextlib.contextmanager
    def _relay(self, delay_ms: float) -> Iterator[Address]:
        program = Path(__file__).with_name("delaying_relay.py")
        words = [self.address.host, str(self.address.port), "--delay-ms", str(delay_ms)]
        process = subprocess.Popen(
            [sys.executable, str(program), *words], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield Address("127.0.0.1", int(process.stdout.readline()))
        finally:
            process.kill()
            process.communicate()


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


def decode(
    address: Address, args: argparse.Namespace
) -> tuple[list[simulator.Run], list[simulator.Run]]:
    with Engine(
        args.target,
        args.draft,
        rpc_servers=[str(address)],
        n_ctx=args.n_ctx,
        n_threads=args.threads,
        draft_n_threads=args.threads,
        cpus=args.cpus,
        draft_cpus=args.draft_cpus,
        max_draft=max(args.lengths),
        max_branches=args.max_branches,
        lookup=False,  # the simulated pair has no texts that propose tokens
    ) as engine:
        return simulator.measure(engine, args)


def farther(measured: simulator.Measured, us: float) -> simulator.Measured:
    """The same with more time in every step of the target."""
    return replace(measured, target_us=tuple(each + us for each in measured.target_us))


def compare(runs: Sequence[simulator.Run], known: simulator.Measured) -> list[dict[str, object]]:
    """Speeds of all settings, and what the simulator says with these step times."""
    return [
        {
            "setting": str(row["setting"]),
            "measured_tokens_per_s": 1000.0 / float(str(row["measured_ms_per_token"])),
            "simulated_tokens_per_s": 1000.0 / float(str(row["simulated_ms_per_token"])),
            "measured_gain": float(str(row["measured_speedup"])),
            "simulated_gain": float(str(row["simulated_speedup"])),
        }
        for row in simulator.rows(runs, known)
    ]


def table(found: Sequence[dict[str, object]]) -> str:
    lines = [
        "| round trip | setting | tokens/s | gain | simulated tokens/s | simulated / measured |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        "| {latency_ms:g} ms | {setting} | {measured_tokens_per_s:.1f} | {measured_gain:.2f} | "
        "{simulated_tokens_per_s:.1f} | {ratio:.3f} |".format_map(row)
        for row in found
    ]
    return "\n".join(lines)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="and the options of validate_simulator.py",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--latencies", type=float, nargs="+", default=[0.0, 1.0, 5.0])
    parser.add_argument("--worker-cpus", help="as of taskset; default: any")
    parser.add_argument("--json", type=Path, help="append what was measured and every row")
    own, rest = parser.parse_known_args(argv)
    args = simulator.parse(rest)
    for name in ("latencies", "worker_cpus", "json"):
        setattr(args, name, getattr(own, name))
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the other host is taken down
    found: list[dict[str, object]] = []
    heads: list[dict[str, object]] = []
    first: tuple[float, simulator.Measured] | None = None
    with OtherHost() as host, host.worker(args.worker_cpus):
        print(f"the other host is {'a namespace' if host.is_namespace else 'a process here'}")
        for latency in args.latencies:
            with host.latency(latency) as address:
                trip_us = round_trip_us(address)
                runs, probes = decode(address, args)
            measured = simulator.understand(runs, probes)
            if first is None:
                first = trip_us, measured
            known = farther(first[1], trip_us - first[0])
            curve = ", ".join(f"{us:.0f}" for us in measured.target_us)
            print(f"{latency:g} ms: a round trip takes {trip_us:.0f} us; target, us: {curve}")
            heads.append({"latency_ms": latency, "round_trip_us": trip_us, **asdict(measured)})
            for row in compare(runs, known):
                simulated, real = (
                    float(str(row[f"{kind}_tokens_per_s"])) for kind in ("simulated", "measured")
                )
                found.append({"latency_ms": latency, **row, "ratio": simulated / real})
    print(table(found))
    if args.json:
        names = {"target": args.target.name, "draft": args.draft.name, "tokens": args.tokens}
        with args.json.open("a") as file:
            for line in (names, *heads, *found):
                file.write(json.dumps(line) + "\n")
    off = [row for row in found if abs(float(str(row["ratio"])) - 1.0) > args.tolerance]
    for row in off:
        print(f"off by more than {args.tolerance:.0%}: {row['latency_ms']} ms, {row['setting']}")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
