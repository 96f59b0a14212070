"""How far the scores of scaled models are from those of their source.

Scales one model in several ways into a temporary folder, lets llama.cpp decode the same tokens with
each (80 random ones in one batch, on the CPU, with one thread), and prints what the scaling tool
promises next to what is found.

    python -m benchmarks.scaled_scores python/specbranch_cpp/models/demo-target.gguf \
        --types F32 F16 Q6_K Q5_0 Q4_K Q4_0 --head-size 128 --n-embd 512
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.scaling import judge_text, scale
from benchmarks.scaling.step_times import quiet_llama

from specbranch_cpp._scaling.source import Source

if TYPE_CHECKING:
    import numpy.typing as npt

    Scores = npt.NDArray[np.float32]

N_TOKENS = 80


def scores_of(path: Path, tokens: list[int]) -> Scores:
    """The scores after every token, [position][token]."""
    api, _ = quiet_llama()
    model_params = api.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model = api.llama_model_load_from_file(os.fsencode(path), model_params)
    if not model:
        raise SystemExit(f"{path}: llama.cpp cannot load it")
    params = api.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = params.n_outputs_max = 256
    params.n_threads = params.n_threads_batch = 1
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = api.llama_init_from_model(model, params)
    if not context:
        raise SystemExit(f"{path}: llama.cpp cannot create a context")
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    batch = api.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.logits[i] = token, i, 1
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
    if api.llama_decode(context, batch) != 0:
        raise SystemExit(f"{path}: llama_decode failed")
    rows = [
        np.ctypeslib.as_array(api.llama_get_logits_ith(context, i), (n_vocab,)).copy()
        for i in range(len(tokens))
    ]
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(model)
    return np.stack(rows)


def compare(before: Scores, after: Scores) -> str:
    """Cells of a table: the largest difference, the root mean square of all relative to the
    standard deviation of the scores, the worst correlation of a position, equal best tokens."""
    difference = np.abs(after - before)
    relative = np.sqrt(np.mean(np.square(difference))) / before.std()
    worst = min(np.corrcoef(a, b)[0, 1] for a, b in zip(before, after, strict=True))
    same = np.mean(before.argmax(axis=1) == after.argmax(axis=1))
    return f"{difference.max():.2g} | {relative:.2%} | {worst:.4f} | {same:.0%}"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scaled_scores.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--types", nargs="*", default=[], help="weight types, one row each")
    for name in ("head-size", "n-embd", "n-ff", "n-layer"):
        parser.add_argument(f"--{name}", type=int, metavar="N", help="one row, in the same type")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    changes: list[tuple[str, dict[str, Any]]] = [
        (f"type {name}", {"weight_type": name}) for name in args.types
    ]
    sizes = {name: getattr(args, name) for name in ("head_size", "n_embd", "n_ff", "n_layer")}
    changes += [(f"{name} {n}", {name: n}) for name, n in sizes.items() if n is not None]
    n_vocab = Source(args.source).n_vocab
    tokens = np.random.default_rng(7).integers(1, min(257, n_vocab), N_TOKENS).tolist()
    before = scores_of(args.source, tokens)
    print("| change | promised | largest difference | relative | worst correlation | same best |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scaled.gguf")
        for name, change in changes:
            result = scale(args.source, path, force=True, **change)
            promise = judge_text(result.equality, result.weight_change)
            print(f"| {name} | {promise} | {compare(before, scores_of(path, tokens))} |")


if __name__ == "__main__":
    main()
