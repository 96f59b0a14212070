"""The OpenAI-shaped calls as methods of `Engine`.

What they need, Jinja among it, is imported when one is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine.text_engine import TextEngine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from specbranch_cpp import policies
    from specbranch_cpp._engine.text_engine import GenerateKeywords
    from specbranch_cpp.openai_api.streams import Stream
    from specbranch_cpp.openai_api.types import (
        ChatChunk,
        ChatCompletion,
        CompletionChunk,
        TextCompletion,
    )
    from specbranch_cpp.results import Completion

__all__ = ["OpenAICalls"]


class OpenAICalls(TextEngine):
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
        """Continues a text, with llama-cpp-python's keywords and OpenAI's dictionaries.

        What it returns has the fields `timings` (llama-server's names, ``draft_n`` and
        ``draft_n_accepted`` among them), `seed` and `mode` besides. For one seed, the text is the
        same in every mode.

        Args:
            prompt: text, in which names of control tokens are read as these tokens; an empty one
                is the BOS token. Or token ids.
            suffix: text that is to follow. A model with tokens for that fills in the middle; for
                others it is appended to the text.
            max_tokens: tokens of the text at most; None or less than 1: until the context is full.
            temperature: 0: the most probable token; 1: the model's distribution.
            top_p: keep the most probable tokens that together have this probability; 1: all.
            min_p: drop tokens less probable than this share of the best one's; 0: none.
            typical_p: must be 1.0, off: there is no typical sampling.
            logprobs: report log-probabilities of each token and of this many alternatives.
            echo: begin the text with the prompt; not together with ``logprobs``.
            stop: strings before the first of which the text is cut.
            frequency_penalty: subtracted from a token's score as often as it is there; 0: off.
            presence_penalty: subtracted once if it is there; 0: off.
            repeat_penalty: divides the scores of the last 64 tokens; 1: off.
            top_k: keep the k most probable tokens; 0 or less: all.
            stream: return a `Stream` of chunks.
            seed: key of the choice at temperatures above 0; None or -1 draws one.
            tfs_z: must be 1.0, off: there is no tail-free sampling.
            mirostat_mode: must be 0, off: mirostat has a memory of its own.
            mirostat_tau: without effect, as mirostat is off.
            mirostat_eta: likewise.
            model: the name in the answer; None: the model's own.
            stopping_criteria: must be None: it would run between the target's tokens.
            logits_processor: likewise.
            grammar: GBNF, as text or as llama-cpp-python's ``LlamaGrammar``.
            logit_bias: added to the raw scores of single tokens.
            mode: see `generate`.
            policy: see `generate`.
            k_max: see `generate`.
            max_draft: see `generate`.
            trace: add the field ``speculation``: where each token came from, what was rolled
                back, what both models did when.
            stream_options: ``{"include_usage": True}``: a last chunk with the usage.

        Returns:
            The text, or with ``stream`` an iterator of its pieces: see `openai_api.types`.

        Raises:
            InvalidArgument: and the other errors of `generate`, all when called; a stream's
                chunks raise only what happens later.
        """
        from specbranch_cpp.openai_api.completions import CompletionCall
        from specbranch_cpp.openai_api.keywords import CompletionKeywords

        given = CompletionKeywords(
            prompt=prompt,
            suffix=suffix,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
            logprobs=logprobs,
            echo=echo,
            stop=stop,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            repeat_penalty=repeat_penalty,
            top_k=top_k,
            stream=stream,
            seed=seed,
            tfs_z=tfs_z,
            mirostat_mode=mirostat_mode,
            mirostat_tau=mirostat_tau,
            mirostat_eta=mirostat_eta,
            model=model,
            stopping_criteria=stopping_criteria,
            logits_processor=logits_processor,
            grammar=grammar,
            logit_bias=logit_bias,
            mode=mode,
            policy=policy,
            k_max=k_max,
            max_draft=max_draft,
            trace=trace,
            stream_options=stream_options,
        )
        call = CompletionCall(self, given)
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
        """Answers messages, with llama-cpp-python's keywords and OpenAI's dictionaries.

        The messages are written with the model's chat template, or with ChatML if it has none.
        Names of control tokens in them are text, not these tokens. Keywords that are not listed
        are those of `create_completion`.

        Args:
            messages: dictionaries with ``role`` and ``content``; parts of content must be text.
            functions: the old name of ``tools``: the functions alone.
            function_call: the old name of ``tool_choice``.
            tools: functions that the model may call. A template that does not know tools gets a
                description of them in the system message.
            tool_choice: ``"none"``, ``"auto"`` (None), ``"required"``, or ``{"type": "function",
                "function": {"name": ...}}``; the last two by a grammar from the functions'
                schemas.
            response_format: ``{"type": "json_object"}``, or ``{"type": "json_schema",
                "json_schema": {"schema": ...}}``: an answer that is such JSON, unless
                ``max_tokens`` cuts it short. What of a schema is enforced:
                `openai_api.schemas.grammar_of`.
            max_tokens: as in `create_completion`.
            logprobs: report log-probabilities of each token.
            top_logprobs: and of this many alternatives.
            max_completion_tokens: OpenAI's new name of ``max_tokens``.
            parallel_tool_calls: whether there may be several calls; None: yes where the model is
                free to call, no where it must.
            chat_template_kwargs: further variables of the template, such as ``enable_thinking``.

        Returns:
            The answer, or with ``stream`` an iterator of its pieces: see `openai_api.types`. A
            call of a function comes in one piece.

        Raises:
            InvalidArgument: and the other errors of `generate`, all when called; a stream's
                chunks raise only what happens later.
        """
        from specbranch_cpp.openai_api.chat_completions import ChatCall
        from specbranch_cpp.openai_api.keywords import ChatKeywords

        given = ChatKeywords(
            messages=messages,
            functions=functions,
            function_call=function_call,
            tools=tools,
            tool_choice=tool_choice,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            typical_p=typical_p,
            stream=stream,
            stop=stop,
            seed=seed,
            response_format=response_format,
            max_tokens=max_tokens,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            repeat_penalty=repeat_penalty,
            tfs_z=tfs_z,
            mirostat_mode=mirostat_mode,
            mirostat_tau=mirostat_tau,
            mirostat_eta=mirostat_eta,
            model=model,
            logits_processor=logits_processor,
            grammar=grammar,
            logit_bias=logit_bias,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            max_completion_tokens=max_completion_tokens,
            parallel_tool_calls=parallel_tool_calls,
            chat_template_kwargs=chat_template_kwargs,
            mode=mode,
            policy=policy,
            k_max=k_max,
            max_draft=max_draft,
            trace=trace,
            stream_options=stream_options,
        )
        call = ChatCall(self, given)
        return call.stream() if stream else call.answer()

    def complete(
        self, prompt: str | Sequence[int], **options: Unpack[GenerateKeywords]
    ) -> Completion:
        """The whole text that follows a prompt; ``str()`` of it is its text.

        Args:
            prompt: text or token ids.
            **options: those of `Engine.generate`, with its defaults.

        Raises:
            InvalidArgument: and the other errors of `Engine.generate`.
        """
        return self.generate(prompt, **options).result()

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Completion:
        """The whole answer to messages; ``str()`` of it is its text.

        Args:
            messages: what the user says, or messages as in `create_chat_completion`.
            chat_template_kwargs: further variables of the template.
            **options: those of `Engine.generate`, with its defaults.

        Raises:
            InvalidArgument: and the other errors of `Engine.generate`.
        """
        from specbranch_cpp.openai_api.chat_completions import chat_generation

        return chat_generation(self, messages, chat_template_kwargs, options).result()
