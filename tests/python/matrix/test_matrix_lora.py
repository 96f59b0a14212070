"""LoRA adapters of every matrix of small models of many architectures.

As in `test_matrix`, ``SPECBRANCH_MATRIX=all`` tests all rows. llama.cpp would abort the process at
a graph that it cannot build.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.matrix.cells import write
from tests.python.matrix.test_matrix import ROWS
from tests.python.support.tiny_gguf import N_VOCAB
from tests.python.support.tiny_lora import matrices_of, write_lora

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.python.matrix.architecture import Architecture

PROMPT = list(range(1, 9))


@pytest.mark.parametrize("architecture", ROWS, ids=[one.label for one in ROWS])
def test_all_matrices_can_be_adapted(architecture: Architecture, tmp_path: Path) -> None:
    model = write(tmp_path, architecture.label)
    path = write_lora(
        tmp_path / "lora.gguf", model, only=matrices_of(model), weight_type="F32", strength=0.3
    )
    options: dict[str, Any] = {"n_threads": 1, "flash_attn": architecture.flash_attn}
    with Engine(model, lora=path, n_ctx=256, mode="autoregressive", **options) as engine:
        (adapter,) = engine.lora_adapters
        assert adapter.rank == 4

        endless = {token: -math.inf for token in range(N_VOCAB) if engine.is_end_token(token)}

        def logprobs(scale: float) -> object:
            asked = engine.generate(
                PROMPT, max_tokens=8, logprobs=1, logit_bias=endless, lora=[(0, scale)]
            )
            return asked.result().logprobs

        first = logprobs(1.0)
        assert first != logprobs(0.0)
        assert logprobs(1.0) == first
