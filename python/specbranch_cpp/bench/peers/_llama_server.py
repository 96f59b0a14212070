"""llama-server from the package xllamacpp, with a draft model, or also with its n-grams of the
text (``ngram-mod``); a backend of `_child.py`.

The server reads the draft length only at its start, because its sources disable the speculation
fields of a request. So each length needs its own process. Ending a server and starting another in
the same process sometimes hangs if the first server had no work (2026.10.11549). Without a draft
length, no draft model is loaded. The other defaults stay (``p_min`` 0, ``n_min`` 0, batches of 2048
and 512 tokens, flash attention if possible), except for the number of slots (one; for several HTTP
clients more, each with the whole context) and no prompt cache. With n-grams, the draft model is
optional, and the draft length is also the largest length of a draft from n-grams. Of the usual
length, 64, the other defaults stay, too; else the least length is 1 instead of 48.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import xllamacpp

_LONGEST_OF_MODEL = 5  # tokens that the draft model drafts beside n-grams
_USUAL_OF_NGRAMS = 64
_HTTP_THREADS = 32  # a request that waits for a slot occupies one


class Backend:
    def __init__(
        self, pair: dict[str, Any], draft_length: int, *, ngram: bool, n_parallel: int
    ) -> None:
        self._drafts = ngram or pair["draft"] is not None
        self._ngram = ngram
        self._draft_length = draft_length
        self._server = _start(pair, draft_length, ngram=ngram, n_parallel=n_parallel)

    def describe(self) -> dict[str, Any]:
        return {
            "version": f"xllamacpp {xllamacpp.__version__}",
            "system_info": xllamacpp.get_system_info(),
            "draft_lengths": self._lengths(),
            "url": self._server.listening_address,
            "usual_draft_length": xllamacpp.CommonParams().speculative.draft.n_max,
        }

    def _lengths(self) -> list[int]:
        if self._ngram:
            return [0, 16, _USUAL_OF_NGRAMS]
        return [0, 1, 2, 3, 5, 8] if self._drafts else [0]

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


def _check_gpu(pair: dict[str, Any]) -> None:
    """Checks that this llama.cpp has a GPU if layers belong on one; it would use the CPU silently.

    Raises:
        RuntimeError: it has none.
    """
    kinds = xllamacpp.ggml_backend_dev_type
    gpus = (
        kinds.GGML_BACKEND_DEVICE_TYPE_GPU,
        kinds.GGML_BACKEND_DEVICE_TYPE_IGPU,
    )
    if pair["n_gpu_layers"] == 0 and pair["draft_n_gpu_layers"] == 0:
        return
    if not any(device["type"] in gpus for device in xllamacpp.get_device_info()):
        raise RuntimeError(
            "xllamacpp finds no GPU, but the models are to be on one; install its build for this "
            "GPU, or choose a placement on the CPU"
        )


def _start(pair: dict[str, Any], draft_length: int, *, ngram: bool, n_parallel: int) -> Any:
    _check_gpu(pair)
    params = xllamacpp.CommonParams()
    params.model.path = pair["target"]
    params.n_ctx = n_parallel * pair["n_ctx"]  # it divides them among the slots
    params.n_parallel = n_parallel
    params.n_threads_http = max(n_parallel, _HTTP_THREADS)
    params.n_gpu_layers = pair["n_gpu_layers"]
    params.fit_params = False  # use the given numbers of layers on the GPU
    params.cache_ram_mib = 0
    params.verbosity = 1
    threads = [params.cpuparams, params.cpuparams_batch]
    kinds = xllamacpp.common_speculative_type
    types = []
    if draft_length > 0 and pair["draft"] is not None:
        draft = params.speculative.draft
        draft.mparams.path = pair["draft"]
        draft.n_max = min(draft_length, _LONGEST_OF_MODEL) if ngram else draft_length
        draft.n_gpu_layers = pair["draft_n_gpu_layers"]
        types.append(kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE)
        threads += [draft.cpuparams, draft.cpuparams_batch]
    if draft_length > 0 and ngram:
        params.speculative.ngram_mod.n_max = draft_length
        if draft_length != _USUAL_OF_NGRAMS:
            params.speculative.ngram_mod.n_min = 1
        types.append(kinds.COMMON_SPECULATIVE_TYPE_NGRAM_MOD)
    if types:
        params.speculative.types = types
    for group in threads:
        group.n_threads = pair["n_threads"]
    return xllamacpp.Server(params)


def open_backend(
    pair: dict[str, Any], draft_length: int, kind: str, n_parallel: str = "1"
) -> Backend:
    """``kind``: ``"draft"`` or ``"ngram"``. ``n_parallel``: number of slots."""
    return Backend(pair, draft_length, ngram=kind == "ngram", n_parallel=int(n_parallel))
