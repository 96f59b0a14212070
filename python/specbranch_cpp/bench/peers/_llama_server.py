"""llama-server from the package xllamacpp, with a draft model; a backend of `_child.py`.

The server reads the draft length only at its start, because its sources disable the speculation
fields of a request. So each length needs its own process. Ending a server and starting another in
the same process sometimes hangs if the first server had no work (2026.10.11549). Without a draft
length, no draft model is loaded. The other defaults stay (``p_min`` 0, ``n_min`` 0, batches of 2048
and 512 tokens, flash attention if possible), except for one slot instead of four slots and no
prompt cache.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import xllamacpp


class Backend:
    def __init__(self, pair: dict[str, Any], draft_length: int) -> None:
        self._has_draft = pair["draft"] is not None
        self._draft_length = draft_length
        self._server = _start(pair, draft_length)

    def describe(self) -> dict[str, Any]:
        return {
            "version": f"xllamacpp {xllamacpp.__version__}",
            "system_info": xllamacpp.get_system_info(),
            "draft_lengths": [0, 1, 2, 3, 5, 8] if self._has_draft else [0],
        }

    def generate(self, tokens: list[int], max_tokens: int, draft_length: int) -> dict[str, Any]:
        if draft_length != self._draft_length:
            raise ValueError(f"this server drafts {self._draft_length} tokens, not {draft_length}")
        found = self._post(
            {
                "prompt": tokens,
                "n_predict": max_tokens,
                "temperature": 0.0,
                "samplers": ["top_k"],
                "top_k": 1,
                "cache_prompt": False,
                "return_tokens": True,
            }
        )
        timings = found["timings"]
        ended = found["stop_type"] == "eos"  # then the last token is the end token
        return {
            "tokens": found["tokens"][:-1] if ended else found["tokens"],
            "prefill_ms": timings["prompt_ms"],
            "decode_ms": timings["predicted_ms"],
            "n_drafted": timings.get("draft_n", 0),
            "n_accepted": timings.get("draft_n_accepted", 0),
        }

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._server.listening_address}/completion",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        # Do not use the user's proxy for this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode(errors="replace")) from error
        return answer


def _start(pair: dict[str, Any], draft_length: int) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = pair["target"]
    params.n_ctx = pair["n_ctx"]
    params.n_parallel = 1
    params.n_gpu_layers = pair["n_gpu_layers"]
    params.fit_params = False  # use the given numbers of layers on the GPU
    params.cache_ram_mib = 0
    params.verbosity = 1
    threads = [params.cpuparams, params.cpuparams_batch]
    if draft_length > 0:
        draft = params.speculative.draft
        draft.mparams.path = pair["draft"]
        draft.n_max = draft_length
        draft.n_gpu_layers = pair["draft_n_gpu_layers"]
        kinds = xllamacpp.common_speculative_type
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        threads += [draft.cpuparams, draft.cpuparams_batch]
    for group in threads:
        group.n_threads = pair["n_threads"]
    return xllamacpp.Server(params)


def open_backend(pair: dict[str, Any], draft_length: int) -> Backend:
    return Backend(pair, draft_length)
