"""The shapes of what the OpenAI-shaped calls return.

They are OpenAI's and llama-cpp-python's dictionaries; the fields `timings`, `seed`, `mode` and
`speculation` are added.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

__all__ = [
    "AnswerFinishReason",
    "ChatChoice",
    "ChatChunk",
    "ChatChunkChoice",
    "ChatCompletion",
    "ChatDelta",
    "ChatLogprobs",
    "ChatMessage",
    "CompletionChoice",
    "CompletionChunk",
    "CompletionLogprobs",
    "FunctionCall",
    "PromptTokensDetails",
    "SpeculationRecord",
    "SpeculationRound",
    "SpeculationSpan",
    "SpeculationToken",
    "TextCompletion",
    "Timings",
    "TokenLogprob",
    "TokenText",
    "ToolCall",
    "ToolCallDelta",
    "TopLogprob",
    "Usage",
]

AnswerFinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
"""Why a text ended; ``"cancelled"`` (by `Stream.cancel` or a closed engine) is not OpenAI's."""


class Timings(TypedDict):
    """What a call cost, under llama-server's names. Times are in milliseconds.

    ``prompt_n``: tokens of the prompt that the target computed; ``cache_n``: those it had already.
    ``predicted_n``: tokens of the text. ``draft_n``: tokens that were drafted;
    ``draft_n_accepted``: those of them that became text.
    """

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_second: float
    draft_n: int
    draft_n_accepted: int


class PromptTokensDetails(TypedDict):
    """``cached_tokens``: tokens of the prompt that were not computed again."""

    cached_tokens: int


class Usage(TypedDict):
    """How many tokens a call had."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TokenText(TypedDict):
    """A token and its text; bytes that are no UTF-8 by themselves are U+FFFD."""

    id: int
    text: str


class SpeculationToken(TokenText):
    """A token of the text and where it came from.

    ``origin``: ``"target"``, ``"draft"`` (proposed and accepted) or ``"branch"`` (the target's own
    choice, which had been drafted on a branch).
    """

    origin: str


class SpeculationRound(TypedDict):
    """One verdict of the target: see `specbranch_cpp.TraceRound`."""

    at_ms: float
    n_accepted: int
    n_submitted: int
    branch_hit: bool
    branch_miss: bool
    committed: list[TokenText]
    rolled_back: list[TokenText]


class SpeculationSpan(TypedDict):
    """One command on one model: see `specbranch_cpp.Span`."""

    side: str
    kind: str
    begin_ms: float
    end_ms: float
    n_tokens: int
    n_lanes: int
    n_accepted: int | None
    end: str


class _SpeculationStats(TypedDict, total=False):
    stats: dict[str, Any]


class SpeculationRecord(_SpeculationStats):
    """With ``trace=True``: how the text came about. In a stream, what is new since the last chunk.

    ``stats``, at the end only: the fields and figures of `specbranch_cpp.GenerationStats`.
    """

    tokens: list[SpeculationToken]
    rounds: list[SpeculationRound]
    spans: list[SpeculationSpan]


class CompletionLogprobs(TypedDict):
    """One entry a token in each list.

    ``tokens``: the texts; bytes that are no UTF-8 by themselves are written ``bytes:\\xe2\\x80``.
    ``token_logprobs``: natural logarithms of the probabilities under the target's raw scores.
    ``top_logprobs``: the most probable tokens there, and the chosen one. ``text_offset``: index in
    prompt and text of the token's first character.
    """

    tokens: list[str]
    text_offset: list[int]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]


class CompletionChoice(TypedDict):
    """A text; ``finish_reason`` is None in all chunks of a stream but the last."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: AnswerFinishReason | None


class _Added(TypedDict, total=False):
    """What the engine adds to OpenAI's fields; in a stream, in the last chunk.

    ``seed``: the key of the noise: with it, the same call gives the same text. ``mode``: how it
    was decoded.
    """

    timings: Timings
    seed: int
    mode: str
    speculation: SpeculationRecord


class TextCompletion(_Added):
    """What `Engine.create_completion` returns."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class _ChunkUsage(_Added, total=False):
    """``usage`` is there if ``stream_options`` ask for it, and None before the last chunk."""

    usage: Usage | None


class CompletionChunk(_ChunkUsage):
    """One item of a streamed `Engine.create_completion`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]


class TopLogprob(TypedDict):
    """A token that was possible, as text and as bytes."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token of the text with the most probable ones at its place, best first."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    """One entry a generated token, those of tool calls included."""

    content: list[TokenLogprob] | None
    refusal: None


class FunctionCall(TypedDict):
    """``arguments`` is JSON text of an object."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call that the model asks for."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ToolCallDelta(ToolCall):
    """A call in a stream, whole: ``index`` counts the calls of the message."""

    index: int


class _ChatMessageCalls(TypedDict, total=False):
    tool_calls: list[ToolCall]
    function_call: FunctionCall


class ChatMessage(_ChatMessageCalls):
    """The answer; ``content`` is None if there are calls and no text."""

    role: Literal["assistant"]
    content: str | None


class ChatDelta(TypedDict, total=False):
    """What a chunk adds to the answer."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCallDelta]
    function_call: FunctionCall


class ChatChoice(TypedDict):
    """The answer and why it ended."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: AnswerFinishReason | None


class ChatChunkChoice(TypedDict):
    """What a chunk adds; ``finish_reason`` is None in all but the last."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: AnswerFinishReason | None


class ChatCompletion(_Added):
    """What `Engine.create_chat_completion` returns."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ChatChunk(_ChunkUsage):
    """One item of a streamed `Engine.create_chat_completion`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
