"""Several texts in one request: several prompts, answers (``n``) or candidates (``best_of``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

__all__ = ["is_batch", "run_batch"]

_SEEDS = 2**64


def is_batch(arguments: Mapping[str, Any]) -> bool:
    """Whether a call is for several texts."""
    n_texts = max(arguments.get("n") or 1, arguments.get("best_of") or 1)
    return _has_prompts(arguments) or n_texts > 1


def _has_prompts(arguments: Mapping[str, Any]) -> bool:
    prompt = arguments.get("prompt")
    return isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], (str, list))


async def run_batch(
    create: Callable[..., Awaitable[Any]],
    arguments: Mapping[str, Any],
    put: Callable[[dict[str, Any]], None],
    n_at_once: int = 1,
) -> None:
    """Generates all texts of a call, each a choice of its reply.

    The choices of one prompt follow each other. The k-th of them has the seed plus k, and all
    prompts have the same seeds.

    With ``best_of``, so many texts are generated for each prompt, and its choices are the ``n`` of
    them with the highest mean log-probability of a token, the best first; the sums of the reply
    count all of them. Each choice has its ``seed``, and this mean as ``mean_logprob``; it is null
    for an empty text, which comes last.

    The usage of the reply counts each prompt once, its timings for each text.

    Args:
        create: the call for one text.
        arguments: its arguments, with a ``seed``; ``prompt`` may be a list of prompts, ``n`` the
            number of choices, ``best_of`` the number of texts to choose from (not for a stream).
        put: gets the reply with all choices, or every chunk of a stream.
        n_at_once: the largest number of texts that are generated at the same time.

    Raises:
        SpecBranchError: an error of the call. The first one ends the whole request.
    """
    await _Batch(create, arguments, put, n_at_once).run()


class _Batch:
    def __init__(
        self,
        create: Callable[..., Awaitable[Any]],
        arguments: Mapping[str, Any],
        put: Callable[[dict[str, Any]], None],
        n_at_once: int,
    ) -> None:
        given = dict(arguments)
        self._n_kept = given.pop("n", None) or 1
        best_of = given.pop("best_of", None)
        self._n: int = self._n_kept if best_of is None else best_of
        self._chooses = self._n > 1 and best_of is not None
        self._hides_logprobs = self._chooses and given.get("logprobs") is None
        if self._hides_logprobs:
            given["logprobs"] = 0
        self._prompts: list[dict[str, Any]] = [{}]
        if _has_prompts(given):
            self._prompts = [{"prompt": one} for one in given["prompt"]]
        self._n_texts = self._n * len(self._prompts)
        self._given = given
        self._create = create
        self._put = put
        self._n_at_once = n_at_once
        self._streamed = bool(given.get("stream"))
        self._head: dict[str, Any] = {}
        self._replies: dict[int, dict[str, Any]] = {}
        self._last: dict[int, dict[str, Any]] = {}  # chunks with the usage of one text

    async def run(self) -> None:
        rest = iter(range(self._n_texts))
        tasks = [
            asyncio.ensure_future(self._generate_all(rest))
            for _ in range(min(self._n_at_once, self._n_texts))
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._replies:
            replies = [self._replies[index] for index in range(self._n_texts)]
            chosen = self._best(replies) if self._chooses else replies
            choices = [
                {**choice, "index": index}
                for index, reply in enumerate(chosen)
                for choice in reply["choices"]
            ]
            self._put({**replies[0], "choices": choices, **_totals(replies, self._n)})
        if self._last:
            last = [self._last[index] for index in range(self._n_texts)]
            self._put({**last[0], **self._head, **_totals(last, self._n)})

    async def _generate_all(self, rest: Iterator[int]) -> None:
        """One text after another, as long as there are any that nobody has begun."""
        for index in rest:
            await self._generate(index)

    async def _generate(self, index: int) -> None:
        prompt, number = divmod(index, self._n)
        seed = (self._given["seed"] + number) % _SEEDS
        reply = await self._create(**self._given | self._prompts[prompt] | {"seed": seed})
        if not self._streamed:
            self._replies[index] = reply
            return
        async with reply as chunks:
            async for chunk in chunks:
                self._head = self._head or {"id": chunk["id"], "created": chunk["created"]}
                if not chunk["choices"]:
                    self._last[index] = chunk
                    continue
                choices = [{**choice, "index": index} for choice in chunk["choices"]]
                self._put({**chunk, **self._head, "choices": choices})

    def _best(self, replies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The replies with the best texts of each prompt, the best first."""
        chosen = []
        for begin in range(0, len(replies), self._n):
            ranked = sorted(map(_scored, replies[begin : begin + self._n]), key=_rank)
            chosen += ranked[: self._n_kept]
        if self._hides_logprobs:
            for reply in chosen:
                reply["choices"][0]["logprobs"] = None
        return chosen


def _scored(reply: Mapping[str, Any]) -> dict[str, Any]:
    """A reply whose choice has its seed and the mean log-probability of its tokens."""
    (choice,) = reply["choices"]
    n_tokens = reply["usage"]["completion_tokens"]
    logprobs = choice["logprobs"]["token_logprobs"]
    own = logprobs[len(logprobs) - n_tokens :]  # an echoed prompt stands before them
    mean = sum(own) / n_tokens if n_tokens else None
    return {**reply, "choices": [{**choice, "seed": reply["seed"], "mean_logprob": mean}]}


def _rank(reply: Mapping[str, Any]) -> tuple[bool, float]:
    mean = reply["choices"][0]["mean_logprob"]
    return mean is None, -(mean or 0.0)


def _totals(replies: Sequence[Mapping[str, Any]], n: int) -> dict[str, Any]:
    """The usage and the timings of all texts, of which ``n`` in a row have the same prompt."""
    timings = [reply["timings"] for reply in replies]
    summed = {name: sum(one[name] for one in timings) for name in timings[0]}
    for part in ("prompt", "predicted"):
        spent_ms = summed[f"{part}_ms"]
        rate = 1000.0 * summed[f"{part}_n"] / spent_ms if spent_ms else 0.0
        summed[f"{part}_per_second"] = rate
    return {"usage": _usage([reply["usage"] for reply in replies], n), "timings": summed}


def _usage(of_texts: Sequence[Mapping[str, Any]], n: int) -> dict[str, Any]:
    """The sums of the usage. A prompt counts once, as in OpenAI's replies."""
    n_prompt = sum(one["prompt_tokens"] for one in of_texts[::n])
    n_answer = sum(one["completion_tokens"] for one in of_texts)
    usage: dict[str, Any] = {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_answer,
        "total_tokens": n_prompt + n_answer,
    }
    name = "prompt_tokens_details"
    if name in of_texts[0]:
        # Other texts of the prompt find what the first one has computed.
        cached = [one[name]["cached_tokens"] for one in of_texts]
        least = (min(cached[begin : begin + n]) for begin in range(0, len(cached), n))
        usage[name] = {"cached_tokens": sum(least)}
    name = "completion_tokens_details"
    if name in of_texts[0]:
        parts = of_texts[0][name]
        usage[name] = {part: sum(one[name][part] for one in of_texts) for part in parts}
    return usage
