"""Functions that take part in the choice of each token: processors, masks, stopping criteria.

    import numpy as np
    from specbranch_cpp import Engine, TokenMask

    def no_digits(input_ids, scores):  # as in llama-cpp-python
        scores[digits] = -np.inf
        return scores

    class Words(TokenMask):
        def mask(self, input_ids):
            return allowed_after(tuple(input_ids))  # True for each token that may follow

    engine.generate("Once", logits_processor=[no_digits, Words()])

They work in every mode and change no token of it: the text is that of ``autoregressive`` with the
same functions. See ``docs/processors.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "LogitsProcessor",
    "LogitsProcessorList",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "TokenMask",
]

LogitsProcessor = Callable[["NDArray[np.intc]", "NDArray[np.single]"], "NDArray[np.single]"]
"""A function ``(input_ids, scores) -> scores``.

``input_ids`` has shape ``[n]``: the tokens of the prompt and of the text so far. ``scores`` has
shape ``[vocab_size]``: the target's logits for the next token. Both are arrays of their own, which
the function may keep. It may edit ``scores`` in place. It returns scores of the same shape:
numbers, or ``-inf`` for a token that must not be chosen.

The calls come strictly in order: each has exactly one token more than the call before, and no call
is ever taken back. So the function may have a state that only goes forward.
"""

StoppingCriteria = Callable[["NDArray[np.intc]", "NDArray[np.single]"], bool]
"""A function ``(input_ids, logits) -> bool``. True ends the text before the next token.

Shapes and order of calls are those of `LogitsProcessor`. ``logits`` are the target's, before any
processor.
"""


class TokenMask(ABC):
    """A constraint that depends on the tokens alone, so that it needs no logits.

    The engine evaluates masks along the drafted path while the target computes. So they cost less
    time than a `LogitsProcessor`. But some calls are for tokens that the target then rejects.
    """

    @abstractmethod
    def mask(self, input_ids: NDArray[np.intc]) -> NDArray[Any]:
        """The tokens that may follow. A function of ``input_ids`` alone.

        The engine asks for a prefix before it asks for a prefix that is one token longer. It never
        asks for a prefix with a token that the mask of the shorter prefix forbids. After a
        rejection it goes back to a shorter prefix.

        Args:
            input_ids: shape ``[n]``: the tokens of the prompt and of the text so far, and then
                drafted tokens. The array belongs to the function.

        Returns:
            ``bool`` of shape ``[vocab_size]``, True: allowed. Or packed bits, as the constraint
            libraries have them: ``int32`` or ``uint32`` of shape ``[ceil(vocab_size / 32)]`` or
            longer, in which token t is bit ``t % 32`` of word ``t // 32``. Either may be a batch of
            one, of shape ``[1, ...]``. If no token is allowed, the text ends.
        """


class LogitsProcessorList(list[LogitsProcessor | TokenMask]):
    """A list of processors and masks, which run in this order. Any other list does the same."""


class StoppingCriteriaList(list[StoppingCriteria]):
    """A list of stopping criteria, each of which may end the text. Any other list does the same."""


LogitsProcessors = LogitsProcessor | TokenMask | Sequence[LogitsProcessor | TokenMask] | None
Criteria = StoppingCriteria | Sequence[StoppingCriteria] | None
