"""A client that leaves stops the models; fakes whose passes take long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.python.support.server_support import sent, serving, wait_until

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

PATH = "/v1/completions"
HOUR_US = 3_600_000_000
N_TOKENS = 5_000
BODY: dict[str, Any] = {"max_tokens": N_TOKENS, "mode": "autoregressive", "temperature": 0}


@pytest.mark.parametrize("stream", [True, False])
def test_the_models_stop_within_a_pass(make_fake: MakeFake, stream: bool) -> None:
    engine = make_fake(step_us=HOUR_US)
    with serving(engine) as server:

        def n_running() -> int:
            health: dict[str, int] = server.client.get("/health").json()
            return health["requests_processing"]

        with sent(server, "abc", stream=stream, **BODY):
            wait_until(lambda: server.client.get("/slots").json()[0]["is_processing"])
            assert n_running() == 1
        wait_until(lambda: engine.stats.n_generations == 1)
        assert engine.stats.n_generated == 0
        wait_until(lambda: n_running() == 0)


@pytest.mark.parametrize("stream", [True, False])
def test_the_next_request_has_its_turn(make_fake: MakeFake, stream: bool) -> None:
    engine = make_fake(step_us=50_000, n_ctx=2 * N_TOKENS)
    with serving(engine) as server:
        url = f"{server.url}{PATH}"
        if stream:
            body = BODY | {"prompt": "abc", "stream": True}
            with httpx.stream("POST", url, json=body, timeout=120) as reply:
                lines = reply.iter_lines()
                for _ in range(3):
                    next(lines)
        else:
            with sent(server, "abc", **BODY):
                wait_until(lambda: server.client.get("/slots").json()[0]["is_processing"])
        wait_until(lambda: engine.stats.n_generations == 1)
        assert engine.stats.n_generated < N_TOKENS
        body = BODY | {"prompt": "abc", "max_tokens": 1}
        assert server.client.post(PATH, json=body).is_success
