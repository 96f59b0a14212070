"""What a single-token step of each model of a pair costs."""

from __future__ import annotations

import functools
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._scaling.shape import ScaleError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@functools.cache
def quiet_llama() -> tuple[Any, Any]:
    """llama-cpp-python's low-level module, imported when needed, and the callback that mutes it."""
    import llama_cpp

    mute = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(mute, None)
    return llama_cpp, mute  # llama.cpp keeps a pointer to the callback: so do we


class _Stepper:
    """A model in llama.cpp that decodes one token again and again behind the same prompt."""

    def __init__(self, path: Path, n_prompt: int) -> None:
        self._api, _ = quiet_llama()
        model_params = self._api.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self._model = self._api.llama_model_load_from_file(os.fsencode(path), model_params)
        if not self._model:
            raise ScaleError(f"{path}: llama.cpp cannot load it")
        params = self._api.llama_context_default_params()
        params.n_ctx = n_prompt + 1
        params.n_threads = params.n_threads_batch = 1  # the calling one
        params.flash_attn_type = self._api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self._context = self._api.llama_init_from_model(self._model, params)
        if not self._context:
            self._api.llama_model_free(self._model)
            raise ScaleError(f"{path}: llama.cpp cannot create a context")
        self._prompt = [1 + i % 100 for i in range(n_prompt)]
        self._decode(self._prompt)

    def _decode(self, tokens: Sequence[int]) -> None:
        array = (self._api.llama_token * len(tokens))(*tokens)
        code = self._api.llama_decode(
            self._context, self._api.llama_batch_get_one(array, len(tokens))
        )
        if code != 0:
            raise ScaleError(f"llama_decode failed with {code}")
        self._api.llama_get_logits(self._context)  # waits for the result

    def step(self) -> float:
        """Decode one token and forget it; return the milliseconds that decoding took.

        Processor time, not wall time: equal on an idle machine, and on a shared one it does not
        count how long the thread waited for a core.
        """
        start = time.thread_time()
        self._decode([1])
        elapsed = time.thread_time() - start
        memory = self._api.llama_get_memory(self._context)
        if not self._api.llama_memory_seq_rm(memory, 0, len(self._prompt), -1):
            # A recurrent state cannot forget a token.
            self._api.llama_memory_clear(memory, True)
            self._decode(self._prompt)
        return elapsed * 1e3

    def close(self) -> None:
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)


@dataclass(frozen=True)
class StepTimes:
    """Median milliseconds of a single-token step, alone and while the other model works too."""

    target: float
    draft: float
    target_together: float
    draft_together: float

    def __str__(self) -> str:
        def line(target: float, draft: float) -> str:
            return f"target {target:.2f} ms, draft {draft:.2f} ms, ratio 1/{target / draft:.1f}"

        return (
            f"one token, alone: {line(self.target, self.draft)}\n"
            f"both at work: {line(self.target_together, self.draft_together)}"
        )


def measure_step_times(
    target: Path, draft: Path, *, n_steps: int = 60, n_prompt: int = 64
) -> StepTimes:
    """Time single-token steps of a pair on the CPU, one thread each (needs llama-cpp-python).

    First the models take turns, so that whatever else the machine does hits both alike; then the
    draft steps in a thread of its own for as long as the target takes for its steps.
    """
    steppers: list[_Stepper] = []
    alone: tuple[list[float], list[float]] = ([], [])
    try:
        steppers.extend(_Stepper(path, n_prompt) for path in (target, draft))
        for _ in range(n_steps):
            for stepper, series in zip(steppers, alone, strict=True):
                series.append(stepper.step())

        done = threading.Event()

        def step_until_done() -> list[float]:
            times = [steppers[1].step()]
            while not done.is_set():
                times.append(steppers[1].step())
            return times

        with ThreadPoolExecutor(1) as executor:
            drafting = executor.submit(step_until_done)
            try:
                targets = [steppers[0].step() for _ in range(n_steps)]
            finally:
                done.set()
            drafts = drafting.result()
    finally:
        for stepper in steppers:
            stepper.close()
    return StepTimes(*(statistics.median(series) for series in (*alone, targets, drafts)))
