"""Several prompts in one request of completions: one text after the other, one choice each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["is_batch", "run_batch"]


def is_batch(arguments: Mapping[str, Any]) -> bool:
    """Whether the prompt of a call is a list of prompts."""
    prompt = arguments.get("prompt")
    return isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], (str, list))


async def run_batch(
    create: Callable[..., Awaitable[Any]],
    arguments: Mapping[str, Any],
    put: Callable[[dict[str, Any]], None],
) -> None:
    """Generates a text for each prompt.

    Without a seed, all texts get the seed that the engine draws for the first one.

    Args:
        create: the call for one prompt.
        arguments: its arguments; ``prompt`` is a list of prompts.
        put: gets the reply with all choices, or every chunk of a stream.

    Raises:
        SpecBranchError: an error of the call. The first one ends the whole request.
    """
    given = dict(arguments)
    replies: list[dict[str, Any]] = []
    last: list[dict[str, Any]] = []  # chunks with the usage of one text
    head: dict[str, Any] = {}
    for index, prompt in enumerate(arguments["prompt"]):
        reply = await create(**given | {"prompt": prompt})
        if not given.get("stream"):
            replies.append(reply)
            given["seed"] = reply["seed"]
            continue
        async with reply as chunks:
            async for chunk in chunks:
                head = head or {"id": chunk["id"], "created": chunk["created"]}
                given["seed"] = chunk.get("seed", given.get("seed"))
                if not chunk["choices"]:
                    last.append(chunk)
                    continue
                choices = [{**choice, "index": index} for choice in chunk["choices"]]
                put({**chunk, **head, "choices": choices})
    if replies:
        choices = [
            {**choice, "index": index}
            for index, reply in enumerate(replies)
            for choice in reply["choices"]
        ]
        put({**replies[0], "choices": choices, **_totals(replies)})
    if last:
        put({**last[0], **head, **_totals(last)})


def _totals(replies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The usage and the timings of all texts."""
    usage = [reply["usage"] for reply in replies]
    timings = [reply["timings"] for reply in replies]
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    summed = {name: sum(one[name] for one in timings) for name in timings[0]}
    for part in ("prompt", "predicted"):
        spent_ms = summed[f"{part}_ms"]
        rate = 1000.0 * summed[f"{part}_n"] / spent_ms if spent_ms else 0.0
        summed[f"{part}_per_second"] = rate
    details = ("prompt_tokens_details", "completion_tokens_details")
    return {
        "usage": {
            **{name: sum(one[name] for one in usage) for name in counts},
            **{
                name: {part: sum(one[name][part] for one in usage) for part in usage[0][name]}
                for name in details
                if name in usage[0]
            },
        },
        "timings": summed,
    }
