"""The process that computes embeddings.

    python -m specbranch_cpp.server.embeddings.worker OPTIONS

``OPTIONS`` is a JSON object with keywords of `llama_cpp.Llama`. The process reads requests from
standard input, a JSON object in each line: ``texts`` and ``truncate``. It answers on standard
output: a line with a JSON object, and after ``n_tokens`` the vectors as float32 numbers in the
machine's byte order. llama.cpp's log goes to standard error. The process ends with its input.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import BinaryIO

    from llama_cpp import Llama

__all__ = ["answer", "main"]


class _FileName(str):
    """A name whose bytes need be no text. llama-cpp-python encodes names strictly."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002
        return super().encode(encoding, "surrogateescape")


def answer(model: Llama, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The answer to one request: the object of its line, and the bytes after the line.

    Without ``truncate`` no text may be longer than the context; ``too_long`` names the first one
    that is.
    """
    texts, truncate = request["texts"], request["truncate"]
    n_ctx = model.n_batch
    n_tokens = [len(model.tokenize(text.encode())) for text in texts]
    for index, n in enumerate(n_tokens):
        if n == 0 or (n > n_ctx and not truncate):
            return {"refused": index, "n_tokens_of_it": n}, b""
    vectors = np.asarray(model.embed(texts, normalize=True, truncate=truncate), np.float32)
    return {"n_tokens": [min(n, n_ctx) for n in n_tokens]}, vectors.tobytes()


def main() -> None:
    replies: BinaryIO = sys.stdout.buffer
    from llama_cpp import Llama

    options = json.loads(sys.argv[1])
    options["model_path"] = _FileName(options["model_path"])
    model = Llama(**options, embedding=True, verbose=True)
    model.verbose = False
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    hello = {"n_embd": model.n_embd(), "pooling": model.pooling_type()}
    replies.write(json.dumps(hello).encode() + b"\n")
    replies.flush()
    for line in sys.stdin.buffer:
        try:
            told, vectors = answer(model, json.loads(line))
        except Exception as error:  # noqa: BLE001 (whatever it is, the parent says it)
            told, vectors = {"error": f"{type(error).__name__}: {error}"}, b""
        replies.write(json.dumps(told).encode() + b"\n" + vectors)
        replies.flush()


if __name__ == "__main__":
    main()
