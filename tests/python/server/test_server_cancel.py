"""A client that leaves stops the models within one forward pass; fakes whose passes take long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.python.support.server_support import serving

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

STEP_S = 0.3
BODY = {"prompt": "abc", "max_tokens": 50, "mode": "autoregressive", "temperature": 0}


@pytest.mark.parametrize("stream", [True, False])
def test_the_models_stop_within_a_pass(make_fake: MakeFake, stream: bool) -> None:
    engine = make_fake(step_us=int(STEP_S * 1e6))
    with serving(engine) as server:
        n_read = 0
        url = f"{server.url}/v1/completions"
        if stream:
            with httpx.stream("POST", url, json=BODY | {"stream": True}, timeout=30) as reply:
                for line in reply.iter_lines():
                    n_read += line.startswith("data: ")
                    if n_read == 2:
                        break
        else:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(url, json=BODY, timeout=4.5 * STEP_S)
            n_read = 4  # at most: the prompt takes a pass, too
        end = time.monotonic() + 50 * STEP_S
        while engine.stats.n_generations == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
        # The pass that ran when the client left, and one for a machine that is busy.
        assert engine.stats.n_generated <= n_read + 2
        # The next one has its turn.
        assert server.client.post("/v1/completions", json=BODY | {"max_tokens": 1}).is_success
