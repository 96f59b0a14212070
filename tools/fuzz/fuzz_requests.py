"""The fuzzer of requests: blocks of Python calls, and blocks of HTTP requests, in turn."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from fuzz.crowd import Crowd
from fuzz.http_calls import HttpRequest, open_http_caller
from fuzz.python_calls import Call, open_python_caller

if TYPE_CHECKING:
    from fuzz.findings import Findings

__all__ = ["fuzz_requests"]

_BLOCK = 1000
"""Cases of one process."""


def fuzz_requests(
    seed: int, first: int, count: int, findings: Findings, until: float = float("inf")
) -> None:
    """Runs the cases ``first`` to ``first + count - 1`` of a seed.

    Args:
        seed: the seed of the cases.
        first: the index of the first case.
        count: the number of cases.
        findings: gets the counts and the failures.
        until: the time of `time.monotonic` at which the run ends.
    """
    # A case of an even block is a call, a case of an odd block is an HTTP request.
    open_calls, open_http = partial(open_python_caller, seed), partial(open_http_caller, seed)
    calls = Crowd(open_calls, lambda i: str(Call(seed, i)), findings, seed)
    http = Crowd(open_http, lambda i: str(HttpRequest(seed, i)), findings, seed, n_clients=8)
    index = first
    while index < first + count and time.monotonic() < until:
        block = index // _BLOCK
        end = min((block + 1) * _BLOCK, first + count)
        (http if block % 2 else calls).run(range(index, end), until)
        index = end
        print(f"{findings.n_cases} cases, {len(findings.failures)} failures", flush=True)
