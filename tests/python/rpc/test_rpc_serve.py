"""The command ``specbranch rpc-serve``, and ``--rpc``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.rpc import Worker, free_port

from specbranch_cpp import _core
from specbranch_cpp._llama.child import child_environment
from specbranch_cpp._rpc.addresses import Address
from specbranch_cpp._rpc.handshake import ask_server
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_rpc = pytest.mark.skipif(
    not _core.has_rpc(), reason="llama.cpp was built without its RPC backend"
)


def specbranch(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "specbranch_cpp", *words],
        capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
        env=child_environment(SPECBRANCH_CPU_PROBE="0", COLUMNS="200"),
    )  # fmt: skip


@pytest.mark.skipif(_core.has_rpc(), reason="this llama.cpp has its RPC backend")
@pytest.mark.parametrize(
    "words",
    [
        ("rpc-serve",),
        ("generate", "-p", "x", "--rpc", "127.0.0.1:50052"),
        ("check", "--rpc", "127.0.0.1:50052"),
    ],
)
def test_without_the_backend(words: tuple[str, ...]) -> None:
    done = specbranch(*words)
    assert done.returncode == (1 if words[0] == "check" else 2)
    assert "without it" in done.stdout + done.stderr
    assert "-DGGML_RPC=ON" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("rpc-serve", "--port", "0"), "--port is 0; it must be in 1 .. 65535"),
        (("rpc-serve", "--host", "::1"), "no IPv6"),
        (("generate", "-p", "x", "--rpc", "host"), "--rpc is 'host'; it must be HOST:PORT"),
        (
            ("generate", "-p", "x", "--rpc", "h:1,h:1"),
            "--rpc is ['h:1', 'h:1']; 'h:1' is there",
        ),
        (("check", "--rpc", "h:0"), "port must be 1 to 65535"),
        (("check", "--exact", "--rpc", "h:1"), "this machine only"),
    ],
)
def test_bad_usage(words: tuple[str, ...], expected: str) -> None:
    done = specbranch(*words)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr


@needs_rpc
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--devices", "CUDA7"), "--devices is ['CUDA7']; known are CPU"),
        (("--threads", "0"), "--threads is 0"),
        (("--host", "203.0.113.7"), "where nothing can listen"),
        (("--host", "no-such-host.invalid"), "where nothing can listen"),
    ],
)
def test_a_worker_that_cannot_start(words: tuple[str, ...], expected: str) -> None:
    done = specbranch("rpc-serve", "--port", str(free_port()), *words)
    assert done.returncode == 2
    assert expected in done.stderr


@needs_rpc
def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = specbranch("rpc-serve", "--port", str(listener.getsockname()[1]))
    assert done.returncode == 2
    assert "Address already in use" in done.stderr


@needs_rpc
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_ctrl_c_stops_a_worker(host: str) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "specbranch_cpp", "rpc-serve", "--host", host, "--port", str(port)],
        env=child_environment(SPECBRANCH_CPU_PROBE="0"), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            ask_server(Address("127.0.0.1", port))
            break
        except ModelLoadError:
            time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"lending devices at {host}:{port}" in text
    assert ("reachable from this machine only" in text) == (host == "127.0.0.1")
    assert ("WARNING: whoever reaches" in text) == (host != "127.0.0.1")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as found:
        yield found


@needs_rpc
def test_generate_over_a_worker(worker: Worker) -> None:
    words = ("generate", "-p", "def add(a, b):", "-n", "12", "--json", "-c", "256")
    here, there = specbranch(*words), specbranch(*words, "--rpc", worker.address)
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout)["text"] == json.loads(here.stdout)["text"]


@needs_rpc
def test_check_over_a_worker(worker: Worker) -> None:
    done = specbranch("check", "--rpc", worker.address, "--seconds", "2", "--json", "-c", "256")
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["fits"], report
    assert report["measurement"] is not None
    assert report["gpus"][0].startswith(f"{worker.address}: ")
    advice = report["advice"]
    assert f"--rpc {worker.address}" in advice["command"]
    assert f"rpc_servers=['{worker.address}']" in advice["python"]
    assert "n_threads=1," in advice["python"]  # the target's layers are all there


@needs_rpc
def test_check_of_a_worker_that_is_not_there() -> None:
    port = free_port()
    done = specbranch("check", "--rpc", f"127.0.0.1:{port}", "--json")
    assert done.returncode == 1
    assert "cannot be reached" in json.loads(done.stdout)["reason"]
