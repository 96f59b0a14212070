"""Connections and calls that would hang are ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest
from tests.python.support.isolated import PROMPT
from tests.python.support.server_support import wait_until

from specbranch_cpp import Engine, InvalidArgument, _core, demo
from specbranch_cpp._llama.child import child_environment
from specbranch_cpp._rpc import liveness


@pytest.mark.parametrize(("said", "expected"), [(None, 120.0), ("", 120.0), ("7.5", 7.5)])
def test_the_time_limit(monkeypatch: pytest.MonkeyPatch, said: str | None, expected: float) -> None:
    if said is None:
        monkeypatch.delenv(liveness.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(liveness.VARIABLE, said)
    assert liveness.timeout_s() == expected


@pytest.mark.parametrize("said", ["0", "-5", "soon", "nan", "inf", "1e9"])
def test_a_wrong_time_limit_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(liveness.VARIABLE, said)
    with pytest.raises(
        InvalidArgument, match=f"{liveness.VARIABLE} is '{said}'.* from 1 to 86,400"
    ):
        liveness.timeout_s()


def options_of(connection: socket.socket) -> list[int]:
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
    found = [connection.getsockopt(socket.IPPROTO_TCP, name) for name in names]
    return [connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *found]


@pytest.mark.parametrize("side", ["remote", "local"])
def test_the_system_asks_whether_the_other_host_is_there(side: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if side == "remote":
            liveness.guard_connections(remote={("127.0.0.1", port)})
        else:
            liveness.guard_connections(local_port=port)
        with socket.create_connection(("127.0.0.1", port)) as near:
            far, _ = listener.accept()
            with far, socket.socket():  # one more, which is not connected
                guarded, other = (near, far) if side == "remote" else (far, near)
                limit_ms = 20_000 if side == "local" else 0
                wait_until(lambda: options_of(guarded) == [1, 5, 5, limit_ms])
                assert options_of(other)[0] == 0


def test_a_call_that_hangs_ends_the_process() -> None:
    program = (
        "import sys, time, types\n"
        "from specbranch_cpp._rpc import liveness\n"
        "liveness._core = types.SimpleNamespace(quiet_s=lambda: float(sys.argv[1]))\n"
        "liveness.watch_calls('h:1, i:2')\n"
        "time.sleep(float(sys.argv[2]))\n"
    )

    def run(quiet_s: float, works_s: float) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-c", program, str(quiet_s), str(works_s)],
            capture_output=True, check=False,
            env=child_environment(**{liveness.VARIABLE: "1"}),
        )  # fmt: skip

    ended = run(0.3, 120.0)  # more than a step of the watch: no sign in any of them
    assert ended.returncode == 1
    words = b"specbranch: the RPC servers (h:1, i:2) have not answered for 1 s\n"
    assert ended.stderr == words
    assert run(0.2, 3.0).returncode == 0


def test_only_calls_of_llama_cpp_count() -> None:
    assert _core.quiet_s() is None
    seen: set[bool] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(_core.quiet_s() is not None)

    thread = threading.Thread(target=look)
    with Engine(demo.pair()[0], n_ctx=512, measure_costs=False, lookup=False) as engine:
        thread.start()
        try:
            for _ in range(200):  # the other thread may get no turn in a single text
                engine.complete(PROMPT, max_tokens=60)
                if True in seen:
                    break
        finally:
            done.set()
        thread.join()
    assert True in seen
    assert _core.quiet_s() is None
