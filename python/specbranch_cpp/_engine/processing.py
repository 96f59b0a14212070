"""Calls logits processors, masks and stopping criteria, on a thread of their own.

No thread of the models may wait for the GIL. So they leave their questions in the core's channel,
and one thread of Python for each generation takes them from there.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from specbranch_cpp._support.raised import passed_on, start_thread
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.processors import TokenMask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from specbranch_cpp import _core

    Ids = NDArray[np.intc]
    Scores = NDArray[np.single]
    Allowed = NDArray[np.bool_]
    Words = NDArray[np.uint32]

__all__ = ["Processing", "processing_of"]

_FORBIDDEN = np.float32(-np.inf)


class Processing:
    """The functions of one generation.

    Attributes:
        channel: has the questions of the core.
    """

    def __init__(self, functions: _Functions, request: _core.Request) -> None:
        self._functions = functions
        self.channel = request.new_channel(masks=functions.has_masks, rows=functions.needs_rows)
        self._errors: dict[int, BaseException] = {}

    @property
    def error(self) -> BaseException | None:
        """The exception of a function that made the generation fail."""
        task = self.channel.failed_task
        return None if task is None else self._errors.get(task)

    def start(self, busy: set[int]) -> None:
        """Starts the thread, which ends with the generation.

        Args:
            busy: has the thread while it may run a function.
        """
        # It gets no reference to the generation, which must stop if nobody else has one.
        thread = threading.Thread(
            target=_serve,
            args=(self._functions, self.channel, self._errors, busy),
            name="specbranch-processors",
            daemon=True,
        )
        start_thread(thread)


def _serve(
    functions: _Functions,
    channel: _core.ProcessorChannel,
    errors: dict[int, BaseException],
    busy: set[int],
) -> None:
    thread = threading.get_ident()
    busy.add(thread)
    try:
        while (task := channel.next()) is not None:
            try:
                functions.answer(task, channel)
            except BaseException as error:  # noqa: BLE001, it is raised where the text is read
                errors.clear()  # an earlier failure was at a position that the text did not reach
                errors[task.id] = passed_on(error)
                channel.fail(task)
    finally:
        busy.discard(thread)


class _Functions:
    """Answers the tasks of a channel."""

    def __init__(self, processors: Sequence[Any], criteria: Sequence[Any], n_vocab: int) -> None:
        self._processors = processors
        self._criteria = criteria
        self._n_vocab = n_vocab
        self.has_masks = any(isinstance(one, TokenMask) for one in processors)
        self.needs_rows = bool(criteria) or not all(
            isinstance(one, TokenMask) for one in processors
        )
        # With functions that need logits: what each mask allows, by the number of tokens before.
        self._allowed: dict[int, list[Allowed]] = {}

    def answer(self, task: _core.ProcessorTask, channel: _core.ProcessorChannel) -> None:
        ids, scores = task.input_ids, task.scores
        if scores is None:
            channel.answer_mask(task, self._masks(ids))
        else:
            channel.answer_row(task, self._edit(ids, scores))

    def _masks(self, ids: Ids) -> Words:
        """What all masks allow."""
        each = [
            self._checked_mask(i, one.mask(ids.copy()))
            for i, one in enumerate(self._processors)
            if isinstance(one, TokenMask)
        ]
        if self.needs_rows:
            self._allowed[len(ids)] = [_unpacked(words, self._n_vocab) for words in each]
        return np.bitwise_and.reduce(each) if len(each) > 1 else each[0]

    def _edit(self, ids: Ids, scores: Scores) -> bool:
        """Applies all functions to the scores, in order. Returns whether the text ends here."""
        masks = iter(self._allowed.get(len(ids), ()))
        self._allowed = {n: kept for n, kept in self._allowed.items() if n > len(ids)}
        logits = scores.copy() if self._criteria else scores
        edited = scores
        for i, one in enumerate(self._processors):
            if isinstance(one, TokenMask):
                edited = np.where(next(masks), edited, _FORBIDDEN)
            else:
                edited = self._checked_scores(i, one(ids, edited))
        if edited is not scores:
            scores[:] = edited
        # Each of them is asked.
        ends = [self._truth(i, one(ids, logits)) for i, one in enumerate(self._criteria)]
        return any(ends)

    def _truth(self, index: int, returned: Any) -> bool:
        try:
            return bool(returned)
        except ValueError:  # an array of several values
            name = f"stopping_criteria[{index}] ({_name_of(self._criteria[index])})"
            raise InvalidArgument(
                f"{name} returned {returned!r:.60}; it must return True or False"
            ) from None

    def _checked_scores(self, index: int, returned: Any) -> Scores:
        name = f"logits_processor[{index}] ({_name_of(self._processors[index])})"
        wanted = f"it must return an array of numbers of shape ({self._n_vocab},)"
        if returned is None:
            raise InvalidArgument(f"{name} returned None; {wanted}")
        array = _as_array(name, returned, wanted)
        if (
            array.shape not in ((self._n_vocab,), (1, self._n_vocab))
            or array.dtype.kind not in "fiu"
        ):
            raise InvalidArgument(
                f"{name} returned an array of {array.dtype} of shape {array.shape}; {wanted}"
            )
        if array.ndim == 2:
            array = array[0]
        with np.errstate(over="ignore"):  # what overflows is refused as infinite
            found: Scores = array.astype(np.float32, copy=False)
        if not found.max() < np.inf:  # also for NaN
            token = int(np.argmax(~(found < np.inf)))
            raise InvalidArgument(
                f"{name} returned the score {found[token]} of token {token}; it must be a number "
                "or -inf"
            )
        return found

    def _checked_mask(self, index: int, returned: Any) -> Words:
        n_words = -(-self._n_vocab // 32)
        name = f"{_name_of(self._processors[index])}.mask"
        wanted = (
            f"it must return bool of shape ({self._n_vocab},), or int32 or uint32 of shape "
            f"({n_words},)"
        )
        array = _as_array(name, returned, wanted)
        if array.ndim == 2 and len(array) == 1:  # a batch of one, as the libraries allocate it
            array = array[0]
        if array.dtype == np.bool_ and array.shape == (self._n_vocab,):
            return _packed(array)
        is_packed = array.dtype in (np.int32, np.uint32) and array.ndim == 1
        if is_packed and len(array) >= n_words:
            return np.ascontiguousarray(array[:n_words]).view(np.uint32)
        raise InvalidArgument(
            f"{name} returned an array of {array.dtype} of shape {array.shape}; {wanted}"
        )


def processing_of(
    request: _core.Request, logits_processor: object, stopping_criteria: object, n_vocab: int
) -> Processing | None:
    """Gives the functions of a call to its request. ``None``: there are none.

    Raises:
        InvalidArgument: an argument is not a function, or a list of functions.
    """
    processors = _listed("logits_processor", logits_processor)
    criteria = _listed("stopping_criteria", stopping_criteria)
    for i, one in enumerate(processors):
        _refuse_class(f"logits_processor[{i}]", one)
        if not callable(one) and not isinstance(one, TokenMask):
            raise InvalidArgument(
                f"logits_processor[{i}] is {one!r}; it must be a function (input_ids, scores) -> "
                "scores, or a TokenMask"
            )
    for i, one in enumerate(criteria):
        _refuse_class(f"stopping_criteria[{i}]", one)
        if not callable(one):
            raise InvalidArgument(
                f"stopping_criteria[{i}] is {one!r}; it must be a function (input_ids, logits) -> "
                "bool"
            )
    if not processors and not criteria:
        return None
    return Processing(_Functions(processors, criteria, n_vocab), request)


def _listed(name: str, given: object) -> Sequence[Any]:
    """The functions of an argument. A list is copied, so that its caller may change it."""
    if given is None:
        return ()
    if isinstance(given, (list, tuple)):
        return tuple(given)
    if callable(given) or isinstance(given, TokenMask):
        return (given,)
    raise InvalidArgument(f"{name} is {given!r}; it must be a function, or a list of functions")


def _refuse_class(name: str, one: object) -> None:
    """A class can be called, but what it returns is an object of it."""
    if isinstance(one, type):
        raise InvalidArgument(f"{name} is the class {one.__name__}; it must be an object of it")


def _as_array(name: str, returned: Any, wanted: str) -> NDArray[Any]:
    try:
        return np.asarray(returned)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of several lengths, other devices
        raise InvalidArgument(f"{name} returned what is no array ({error}); {wanted}") from None


def _packed(allowed: Allowed) -> Words:
    rest = -len(allowed) % 32
    padded = np.concatenate((allowed, np.zeros(rest, np.bool_))) if rest else allowed
    return np.packbits(padded, bitorder="little").view(np.uint32)


def _unpacked(words: Words, n_vocab: int) -> Allowed:
    return np.unpackbits(words.view(np.uint8), count=n_vocab, bitorder="little").view(np.bool_)


def _name_of(function: object) -> str:
    return getattr(function, "__name__", None) or type(function).__name__
