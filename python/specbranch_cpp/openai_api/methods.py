"""The OpenAI-shaped calls as methods of `Engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from specbranch_cpp.openai_api.chat_completions import ChatCall, chat_generation
from specbranch_cpp.openai_api.completions import CompletionCall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from specbranch_cpp import policies
    from specbranch_cpp.engine import Engine
    from specbranch_cpp.openai_api.streams import Stream
    from specbranch_cpp.openai_api.types import (
        ChatChunk,
        ChatCompletion,
        CompletionChunk,
        TextCompletion,
    )
    from specbranch_cpp.results import Completion

__all__ = ["OpenAICalls"]


class OpenAICalls:
    """Base of `Engine` with llama-cpp-python's two calls and their short forms."""

    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        temperature: float = 0.8,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        logprobs: int | None = None,
        echo: bool = False,
        stop: str | Sequence[str] | None = (),
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        top_k: int = 40,
        stream: bool = False,
        seed: int | None = None,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        stopping_criteria: Any = None,
        logits_processor: Any = None,
        grammar: Any = None,
        logit_bias: Mapping[int, float] | None = None,
        *,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        k_max: int | None = None,
        max_draft: int | None = None,
        trace: bool = False,
        stream_options: Mapping[str, Any] | None = None,
    ) -> TextCompletion | Stream[CompletionChunk]:
        given = dict(locals())
        engine = cast("Engine", given.pop("self"))
        call = CompletionCall(engine, given)
        return call.stream() if stream else call.answer()

    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: str | Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        stream: bool = False,
        stop: str | Sequence[str] | None = (),
        seed: int | None = None,
        response_format: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        logits_processor: Any = None,
        grammar: Any = None,
        logit_bias: Mapping[int, float] | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        *,
        max_completion_tokens: int | None = None,
        parallel_tool_calls: bool | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        k_max: int | None = None,
        max_draft: int | None = None,
        trace: bool = False,
        stream_options: Mapping[str, Any] | None = None,
    ) -> ChatCompletion | Stream[ChatChunk]:
        given = dict(locals())
        engine = cast("Engine", given.pop("self"))
        call = ChatCall(engine, given)
        return call.stream() if stream else call.answer()

    def complete(self, prompt: str | Sequence[int], **options: Any) -> Completion:
        """The whole text that follows a prompt; ``str()`` of it is its text.

        Args:
            prompt: text or token ids.
            **options: those of `Engine.generate`, with its defaults.

        Raises:
            InvalidArgument: and the other errors of `Engine.generate`.
        """
        return cast("Engine", self).generate(prompt, **options).result()

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Completion:
        """The whole answer to messages; ``str()`` of it is its text.

        Args:
            messages: what the user says, or messages as in `create_chat_completion`.
            chat_template_kwargs: further variables of the template.
            **options: those of `Engine.generate`, with its defaults.

        Raises:
            InvalidArgument: and the other errors of `Engine.generate`.
        """
        engine = cast("Engine", self)
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return chat_generation(engine, messages, chat_template_kwargs, options).result()
