"""The types of the results of the OpenAI-shaped calls.

They are the dictionaries of OpenAI and llama-cpp-python, with the additional fields `timings`,
`seed`, `mode` and `speculation`, and on request the ids of the tokens, with the names of vLLM.
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
    "CompletionTokensDetails",
    "CustomCall",
    "CustomCallDelta",
    "CustomToolCall",
    "CustomToolCallDelta",
    "FunctionCall",
    "FunctionCallDelta",
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
"""Why a text ended. OpenAI has no ``"cancelled"`` (by `Stream.cancel` or a closed engine)."""


class Timings(TypedDict):
    """Statistics of a call, with the names of llama-server. Times are in milliseconds.

    ``prompt_n``: number of prompt tokens that the target computed. ``cache_n``: number of prompt
    tokens that were in the KV cache. ``predicted_n``: number of tokens of the text. ``draft_n``:
    number of drafted tokens. ``draft_n_accepted``: number of drafted tokens that became text.
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
    """``cached_tokens``: number of prompt tokens that were reused from the KV cache."""

    cached_tokens: int


class CompletionTokensDetails(TypedDict, total=False):
    """What the tokens of an answer are.

    ``reasoning_tokens``: number of tokens of the thoughts of a chat. Those of a mark, or of white
    space beside it, count with what follows them. ``accepted_prediction_tokens``: number of tokens
    that were taken from the prediction of the call without decoding them one by one.
    ``rejected_prediction_tokens``: number of tokens of the prediction that were verified, and are
    not in the answer. The last two exist with a prediction.
    """

    reasoning_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class _DetailedUsage(TypedDict, total=False):
    completion_tokens_details: CompletionTokensDetails


class Usage(_DetailedUsage):
    """The numbers of tokens of a call.

    ``completion_tokens_details`` exists in chats, and with a prediction.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TokenText(TypedDict):
    """A token and its text. Bytes that are not valid UTF-8 alone become U+FFFD."""

    id: int
    text: str


class SpeculationToken(TokenText):
    """A token of the text and its origin.

    ``origin``: ``"target"``, ``"draft"`` (drafted and accepted) or ``"branch"`` (the target's own
    token, which was drafted on a branch).
    """

    origin: str


class SpeculationRound(TypedDict):
    """One verification of the target: see `specbranch_cpp.TraceRound`."""

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
    n_branches: int
    n_accepted: int | None
    end: str


class _SpeculationStats(TypedDict, total=False):
    stats: dict[str, Any]


class SpeculationRecord(_SpeculationStats):
    """How the text was generated, with ``trace=True``.

    In a stream, each chunk has the records since the chunk before. ``stats`` comes at the end only:
    the fields and figures of `specbranch_cpp.GenerationStats`.
    """

    tokens: list[SpeculationToken]
    rounds: list[SpeculationRound]
    spans: list[SpeculationSpan]


class CompletionLogprobs(TypedDict):
    """Each list has one entry for each token.

    ``tokens``: the texts of the tokens. Bytes that are not valid UTF-8 alone are written
    ``bytes:\\xe2\\x80``. ``token_logprobs``: natural logarithms of the probabilities, from the
    target's logits. ``top_logprobs``: the most probable tokens at that position, and the chosen
    token. ``text_offset``: index of the token's first character in prompt and text.
    """

    tokens: list[str]
    text_offset: list[int]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]


class _Ended(TypedDict, total=False):
    """Only the last chunk of a stream has this field.

    ``stop_reason``: the stop string of the caller that ended the text, as in vLLM. ``None``: none
    did.
    """

    stop_reason: str | None


class _TokenIds(TypedDict, total=False):
    """Only calls with ``return_token_ids`` have this field.

    ``token_ids``: the ids of the tokens of the text, as in `specbranch_cpp.Completion`. In a
    stream, those of the chunk, which may have a token and no text yet.
    """

    token_ids: list[int]


class _PromptTokenIds(TypedDict, total=False):
    """Only calls with ``return_token_ids`` have this field. A stream has it in its first chunk.

    ``prompt_token_ids``: the ids of the tokens that the model reads.
    """

    prompt_token_ids: list[int]


class CompletionChoice(_Ended, _TokenIds, _PromptTokenIds):
    """A text. ``finish_reason`` is ``None`` in all chunks of a stream except the last."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: AnswerFinishReason | None


class _Added(TypedDict, total=False):
    """Additional fields of the engine; a stream has them in its last chunk.

    ``seed``: the seed that was used; the same call with this seed gives the same text. ``mode``:
    the mode that was used.
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
    """``usage`` exists if ``stream_options`` request it. It is ``None`` before the last chunk."""

    usage: Usage | None


class CompletionChunk(_ChunkUsage):
    """One item of a streamed `Engine.create_completion`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]


class TopLogprob(TypedDict):
    """A possible token, as text and as bytes."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token of the text, with the most probable tokens at its position, most probable first."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    """One entry for each generated token, including tokens of tool calls.

    With ``content_logprobs=True``: one entry for each token whose text is in ``content``.
    """

    content: list[TokenLogprob] | None
    refusal: None


class FunctionCall(TypedDict):
    """``arguments`` is JSON text of an object."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call that the model requests."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class CustomCall(TypedDict):
    """``input`` is the text with which the tool is called."""

    name: str
    input: str


class CustomToolCall(TypedDict):
    """A call of a custom tool that the model requests."""

    id: str
    type: Literal["custom"]
    custom: CustomCall


class FunctionCallDelta(TypedDict, total=False):
    """A piece of a call. Only the first piece has the ``name``."""

    name: str
    arguments: str


class _ToolCallStart(TypedDict, total=False):
    id: str
    type: Literal["function"]


class ToolCallDelta(_ToolCallStart):
    """A piece of a call in a stream. ``index`` counts the calls of the message.

    The first piece of a call has ``id``, ``type`` and the name. The pieces of ``arguments`` are
    together the JSON text of an object.
    """

    index: int
    function: FunctionCallDelta


class CustomCallDelta(TypedDict, total=False):
    """A piece of a call of a custom tool. Only the first piece has the ``name``."""

    name: str
    input: str


class _CustomToolCallStart(TypedDict, total=False):
    id: str
    type: Literal["custom"]


class CustomToolCallDelta(_CustomToolCallStart):
    """A piece of a call of a custom tool in a stream. ``index`` counts the calls of the message.

    The first piece of a call has ``id``, ``type`` and the name. A complete call has one more piece
    with the whole ``input``.
    """

    index: int
    custom: CustomCallDelta


class _ChatMessageRest(TypedDict, total=False):
    reasoning_content: str
    tool_calls: list[ToolCall | CustomToolCall]
    function_call: FunctionCall


class ChatMessage(_ChatMessageRest):
    """The answer. ``content`` is ``None`` if the answer has calls and no text.

    ``reasoning_content``: the thoughts, if there are any.
    """

    role: Literal["assistant"]
    content: str | None


class ChatDelta(TypedDict, total=False):
    """The part of the answer in a chunk."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str
    tool_calls: list[ToolCallDelta | CustomToolCallDelta]
    function_call: FunctionCallDelta


class ChatChoice(_Ended, _TokenIds):
    """The answer and why it ended."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: AnswerFinishReason | None


class ChatChunkChoice(_Ended, _TokenIds):
    """The part of the answer in a chunk. Only the last chunk has a ``finish_reason``."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: AnswerFinishReason | None


class ChatCompletion(_Added, _PromptTokenIds):
    """What `Engine.create_chat_completion` returns."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ChatChunk(_ChunkUsage, _PromptTokenIds):
    """One item of a streamed `Engine.create_chat_completion`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
