"""One request for embeddings. It takes its turn in the queue, because it needs the same cores."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from specbranch_cpp.server.embeddings.model import EmbeddingFailed, TextRefused
from specbranch_cpp.server.errors import ApiError, BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp.server.embeddings.model import EmbeddingModel, Embeddings

__all__ = ["EmbeddingCall"]

_AT_ONCE = 16  # texts between two looks at whether the client is still there


class EmbeddingCall:
    """The texts of one request.

    Args:
        endpoint: the path of the request.
        model: the model.
        texts: the texts.
        field: the field of the request that holds them.
        truncate: whether texts that are too long are cut.
    """

    streamed = False

    def __init__(
        self,
        endpoint: str,
        model: EmbeddingModel,
        texts: Sequence[str],
        field: str,
        *,
        truncate: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self._model = model
        self._texts = texts
        self._field = field
        self._truncate = truncate

    async def run(self) -> dict[str, Any]:
        """The reply: ``vectors`` (texts, dimensions), ``n_tokens`` in total, and ``seconds``.

        A cancelled call stops after the texts that are being computed.

        Raises:
            BadRequest: a text is empty or too long.
            ApiError: the model failed.
        """
        begin = time.monotonic()
        starts = range(0, len(self._texts), _AT_ONCE)
        parts = [await _in_thread(partial(self._part, first)) for first in starts]
        return {
            "vectors": np.concatenate([part.vectors for part in parts]),
            "n_tokens": sum(sum(part.n_tokens) for part in parts),
            "seconds": time.monotonic() - begin,
        }

    def _part(self, first: int) -> Embeddings:
        texts = self._texts[first : first + _AT_ONCE]
        try:
            return self._model.embed(texts, truncate=self._truncate)
        except TextRefused as refused:
            raise self._refusal(first + refused.index, refused) from None
        except EmbeddingFailed as failed:
            raise ApiError(503, str(failed), code="embedding_failed") from None

    def _refusal(self, index: int, refused: TextRefused) -> BadRequest:
        where = self._field if len(self._texts) == 1 else f"{self._field}[{index}]"
        if refused.n_tokens == 0:
            return BadRequest(f"{where} has no tokens; it must have at least one", where)
        return BadRequest(
            f"{where} has {refused.n_tokens} tokens; the embedding model reads at most "
            f"{refused.n_ctx}; divide the text into parts",
            where,
            "context_length_exceeded",
        )


async def _in_thread(work: Callable[[], Embeddings]) -> Embeddings:
    """Runs this on another thread; also a cancelled wait lasts until it has ended."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
