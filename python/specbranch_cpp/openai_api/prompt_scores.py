"""Log-probabilities of a prompt's tokens, for ``echo`` with ``logprobs``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from specbranch_cpp._engine.keywords import Named
from specbranch_cpp._engine.request import TextRequest
from specbranch_cpp.openai_api.vocabulary import end_tokens
from specbranch_cpp.options import Sampling, Speculation
from specbranch_cpp.results import TokenLogprobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from specbranch_cpp._engine.adapters import LoraChoice
    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp.generation import Generation

__all__ = ["PromptScores"]

_CERTAIN = 1e9  # larger than every difference of two logits


class PromptScores:
    """Lets the target score the tokens of a prompt, one forward pass for each token.

    The engine keeps logits of generated tokens only. So each token is generated after the tokens
    before it, with a bias that leaves no other choice. Log-probabilities are computed before the
    bias.

    Args:
        engine: the engine.
        tokens: the tokens of the prompt.
        n_top: number of alternatives of each token.
        lora: the adapters of the target: see `Engine.generate`.

    Attributes:
        tokens: the tokens of the prompt.
    """

    def __init__(
        self,
        engine: TextEngine,
        tokens: Sequence[int],
        n_top: int,
        lora: LoraChoice | None = None,
    ) -> None:
        self._engine = engine
        self.tokens = list(tokens)
        self._n_top = n_top
        self._lora = lora
        self._ends = end_tokens(engine)
        self._lock = threading.Lock()
        self._running: Generation | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Stops `read` within one forward pass. Any thread may call this method."""
        with self._lock:
            self._cancelled = True
            if self._running is not None:
                self._running.cancel()

    def read(self) -> Iterator[TokenLogprobs | None]:
        """The scores of the tokens in their order. ``None``: the first token has no score.

        After a `cancel`, the iterator ends early.

        Raises:
            DecodeError: or another error of `Generation.result`.
        """
        yield None
        for index in range(1, len(self.tokens)):
            score = self._score(index)
            if score is None:
                return
            yield score

    def _score(self, index: int) -> TokenLogprobs | None:
        """The score of one token. ``None``: cancelled."""
        token = self.tokens[index]
        # An end token would end the generation without a score. The list of all alternatives
        # contains its score.
        listed = token in self._ends
        forced = token
        if listed:
            forced = next(one for one in range(self._engine.vocab_size) if one not in self._ends)
        n_top = self._engine.vocab_size if listed else self._n_top
        asked = TextRequest(
            prompt=self.tokens[:index],
            sampling=Named(Sampling(logit_bias={forced: _CERTAIN})),
            speculation=Named(Speculation(mode="autoregressive")),
            max_tokens=1,
            stop=None,
            logprobs=n_top,
            trace=False,
            n_feature_layers=0,
            lora=self._lora,
        )
        with self._lock:
            if self._cancelled:
                return None
            running = self._running = self._engine._submit(asked)
        logprobs = running.result().logprobs
        if not logprobs:
            return None
        (score,) = logprobs
        if not listed:
            return score
        top = dict(list(score.top.items())[: self._n_top])
        return TokenLogprobs(token, score.top[token], top)
