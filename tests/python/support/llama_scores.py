"""What llama.cpp computes with a model, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

Scores = npt.NDArray[np.float32]

# Reads "model<TAB>output" lines and saves the scores of every position of one token sequence,
# decoded as a long prompt, a short batch and single tokens. A process of its own, because a bad
# model may abort it. "model<TAB>output<TAB>type" quantizes the model instead.
WORKER = """
import ctypes, sys
import llama_cpp as api
import numpy as np

api.llama_backend_init()
TOKENS = np.random.default_rng(7).integers(1, 257, 80).tolist()
BATCHES = [70, 6, 1, 1, 1, 1]

def scores(path):
    model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
    assert model, path
    params = api.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 256, 1, 1
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = api.llama_init_from_model(model, params)
    assert context, path
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    batch = api.llama_batch_init(max(BATCHES), 0, 1)
    rows, start = [], 0
    for size in BATCHES:
        batch.n_tokens = size
        for i in range(size):
            batch.token[i], batch.pos[i] = TOKENS[start + i], start + i
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
        assert api.llama_decode(context, batch) == 0
        for i in range(size):
            row = api.llama_get_logits_ith(context, i)
            rows.append(np.ctypeslib.as_array(row, (n_vocab,)).copy())
        start += size
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(model)
    return np.stack(rows)

def quantize(path, output, kind):
    params = api.llama_model_quantize_default_params()
    params.ftype, params.nthread = int(kind), 1
    assert api.llama_model_quantize(path.encode(), output.encode(), ctypes.byref(params)) == 0

for line in sys.stdin:
    path, output, *kind = line.rstrip("\\n").split("\\t")
    if kind:
        quantize(path, output, kind[0])
    else:
        np.save(output, scores(path))
    print("done", flush=True)
"""


class Llama:
    """llama.cpp in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "llama.log"
        self._count = 0
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"GGML_NO_BACKTRACE": "1"},
            )

    def _ask(self, *words: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*words, sep="\t", file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer == "done\n", self._log.read_text()[-3000:]

    def scores(self, model: Path) -> Scores:
        """The scores of a fixed token sequence, [position][token]."""
        output = self._log.with_name(f"scores{self._count}.npy")
        self._count += 1
        self._ask(model, output)
        scores: Scores = np.load(output)
        assert np.isfinite(scores).all()
        assert scores.std() > 0.1
        return scores

    def quantize(self, model: Path, output: Path, file_type: int) -> Path:
        self._ask(model, output, file_type)
        return output

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


def assert_same_bits(first: Scores, second: Scores) -> None:
    np.testing.assert_array_equal(first.view(np.uint32), second.view(np.uint32))
