"""The OpenAI-shaped calls as methods of `Engine`.

A call imports the modules that it needs, such as Jinja.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp._engine.text_engine import TextEngine
from specbranch_cpp.options import DRY_BREAKERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from specbranch_cpp import policies
    from specbranch_cpp._engine.adapters import LoraChoice
    from specbranch_cpp._engine.text_engine import GenerateKeywords
    from specbranch_cpp.openai_api.logit_bias import LogitBias
    from specbranch_cpp.openai_api.prediction import PredictionContent
    from specbranch_cpp.openai_api.streams import Stream
    from specbranch_cpp.openai_api.types import (
        ChatChunk,
        ChatCompletion,
        CompletionChunk,
        TextCompletion,
    )
    from specbranch_cpp.processors import Criteria, LogitsProcessors
    from specbranch_cpp.results import Completion

__all__ = ["OpenAICalls"]


class OpenAICalls(TextEngine):
    """Base class of `Engine` with the two calls of llama-cpp-python and their short forms."""

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
        stopping_criteria: Criteria = None,
        logits_processor: LogitsProcessors = None,
        grammar: Any = None,
        logit_bias: LogitBias | None = None,
        *,
        dynatemp_range: float = 0.0,
        dynatemp_exponent: float = 1.0,
        top_n_sigma: float = -1.0,
        min_keep: int = 0,
        xtc_probability: float = 0.0,
        xtc_threshold: float = 0.1,
        repeat_last_n: int = 64,
        dry_multiplier: float = 0.0,
        dry_base: float = 1.75,
        dry_allowed_length: int = 2,
        dry_penalty_last_n: int = 64,
        dry_sequence_breakers: Sequence[str] = DRY_BREAKERS,
        adaptive_target: float = -1.0,
        adaptive_decay: float = 0.9,
        samplers: Sequence[str] | None = None,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        max_branches: int | None = None,
        max_draft: int | None = None,
        lookup: bool | None = None,
        lookup_answers: bool | None = None,
        trace: bool = False,
        stream_options: Mapping[str, Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        ignore_eos: bool = False,
        stop_token_ids: Sequence[int] | None = None,
        min_tokens: int = 0,
        lora: LoraChoice | None = None,
        prediction: PredictionContent | None = None,
        return_token_ids: bool = False,
    ) -> TextCompletion | Stream[CompletionChunk]:
        """Continues a text, with the keywords of llama-cpp-python and the dictionaries of OpenAI.

        The answer also has the fields `timings` (llama-server's names, such as ``draft_n`` and
        ``draft_n_accepted``), `seed` and `mode`. With the same seed, the text is the same in every
        mode.

        Args:
            prompt: a text, or token ids. Names of control tokens in the text become these tokens.
                A text gets the BOS token if the model asks for it and the text does not begin with
                it. An empty text becomes the BOS token.
            suffix: the text after the gap that the model fills. The model must have
                fill-in-the-middle tokens (`Engine.fim_tokens`). Names of control tokens in prompt
                and suffix are then plain text.
            max_tokens: the largest number of tokens to generate. ``None``, or a value below 1:
                generate until the context is full. 0 with ``echo``: generate no token.
            temperature: 0: the most probable token; 1: the model's distribution.
            top_p: keep the most probable tokens whose probabilities add up to this value; 1: keep
                all tokens.
            min_p: drop tokens whose probability is less than this share of the highest probability;
                0: drop no token.
            typical_p: locally typical sampling; 1.0: off.
            logprobs: report log-probabilities of each token and of this many alternatives.
            echo: begin the text with the prompt. With ``logprobs``, the lists begin with the tokens
                of the prompt, which have log-probabilities, too, except a first token without BOS
                before it. The target then reads all of the prompt again.
            stop: strings at which the text ends. The text is cut before the first of them.
            frequency_penalty: value to subtract from a token's logit once for each occurrence;
                0: off.
            presence_penalty: value to subtract from the logit of a token that occurred; 0: off.
            repeat_penalty: value that divides the logits of the last ``repeat_last_n`` tokens;
                1: off.
            top_k: keep the k most probable tokens; 0 or less: keep all tokens.
            stream: return a `Stream` of chunks.
            seed: key of the random choice at temperatures above 0. ``None`` or -1: the engine draws
                a seed.
            tfs_z: must be 1.0 (off), because llama.cpp has no tail-free sampling.
            mirostat_mode: 1 or 2: mirostat, which replaces all samplers except temperature; 0: off.
            mirostat_tau: target surprise of mirostat, in bits.
            mirostat_eta: learning rate of mirostat.
            model: the name in the answer. ``None``: the name of the model.
            stopping_criteria: functions ``(input_ids, logits) -> bool``; True ends the text before
                the next token: see `processors`.
            logits_processor: functions ``(input_ids, scores) -> scores``, or masks, that edit the
                logits before all samplers: see `processors`.
            grammar: a rule as in `Sampling.grammar`, or a ``LlamaGrammar`` of llama-cpp-python.
            logit_bias: values to add to the logits of single tokens: a mapping of tokens to
                numbers, or a list of pairs. A token is an id, an id as text, or another text, all
                tokens of which get the value. ``False`` and ``-inf`` forbid a token.
            dynatemp_range: dynamic temperature; 0: off. All keywords from here to ``samplers`` are
                fields of `Sampling`, which describes them and all other samplers.
            mode: see `generate`.
            policy: see `generate`.
            max_branches: see `generate`.
            max_draft: see `generate`.
            lookup: see `generate`.
            lookup_answers: see `generate`.
            trace: add the field ``speculation``: the origin of each token, the rolled back tokens,
                and what both models did at which time.
            stream_options: ``{"include_usage": True}`` adds a last chunk with the usage.
            response_format: as in `create_chat_completion`.
            ignore_eos: forbid the tokens that end a text.
            stop_token_ids: tokens that end the text, which does not contain them.
            min_tokens: see `generate`.
            lora: see `generate`.
            prediction: a text that the answer probably resembles, or its token ids: see `generate`.
                OpenAI's form is ``{"type": "content", "content": TEXT}``; the content may also be a
                list of text parts. ``usage`` then has ``completion_tokens_details`` with
                ``accepted_prediction_tokens`` and ``rejected_prediction_tokens``.
            return_token_ids: add the ids of the tokens, with the names of vLLM: ``token_ids`` in
                the choice, as in `Completion.tokens`, and ``prompt_token_ids``.

        Returns:
            The text, or with ``stream`` an iterator of its pieces: see `openai_api.types`.

        Raises:
            InvalidArgument: or another error of `generate`. The call itself raises these errors;
                the chunks of a stream raise only later errors.
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
            dynatemp_range=dynatemp_range,
            dynatemp_exponent=dynatemp_exponent,
            top_n_sigma=top_n_sigma,
            min_keep=min_keep,
            xtc_probability=xtc_probability,
            xtc_threshold=xtc_threshold,
            repeat_last_n=repeat_last_n,
            dry_multiplier=dry_multiplier,
            dry_base=dry_base,
            dry_allowed_length=dry_allowed_length,
            dry_penalty_last_n=dry_penalty_last_n,
            dry_sequence_breakers=dry_sequence_breakers,
            adaptive_target=adaptive_target,
            adaptive_decay=adaptive_decay,
            samplers=samplers,
            mode=mode,
            policy=policy,
            max_branches=max_branches,
            max_draft=max_draft,
            lookup=lookup,
            lookup_answers=lookup_answers,
            trace=trace,
            stream_options=stream_options,
            response_format=response_format,
            ignore_eos=ignore_eos,
            stop_token_ids=stop_token_ids,
            min_tokens=min_tokens,
            lora=lora,
            prediction=prediction,
            return_token_ids=return_token_ids,
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
        logits_processor: LogitsProcessors = None,
        grammar: Any = None,
        logit_bias: LogitBias | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        *,
        max_completion_tokens: int | None = None,
        parallel_tool_calls: bool | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        dynatemp_range: float = 0.0,
        dynatemp_exponent: float = 1.0,
        top_n_sigma: float = -1.0,
        min_keep: int = 0,
        xtc_probability: float = 0.0,
        xtc_threshold: float = 0.1,
        repeat_last_n: int = 64,
        dry_multiplier: float = 0.0,
        dry_base: float = 1.75,
        dry_allowed_length: int = 2,
        dry_penalty_last_n: int = 64,
        dry_sequence_breakers: Sequence[str] = DRY_BREAKERS,
        adaptive_target: float = -1.0,
        adaptive_decay: float = 0.9,
        samplers: Sequence[str] | None = None,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        max_branches: int | None = None,
        max_draft: int | None = None,
        lookup: bool | None = None,
        lookup_answers: bool | None = None,
        trace: bool = False,
        stream_options: Mapping[str, Any] | None = None,
        ignore_eos: bool = False,
        stop_token_ids: Sequence[int] | None = None,
        min_tokens: int = 0,
        continue_final_message: bool = False,
        add_generation_prompt: bool | None = None,
        lora: LoraChoice | None = None,
        stopping_criteria: Criteria = None,
        prediction: PredictionContent | None = None,
        return_token_ids: bool = False,
        content_logprobs: bool = False,
    ) -> ChatCompletion | Stream[ChatChunk]:
        """Answers messages, with the keywords of llama-cpp-python and the dictionaries of OpenAI.

        The model's chat template turns the messages into a prompt; a model without a template gets
        ChatML. Names of control tokens in messages are plain text, not these tokens.
        `create_completion` describes the keywords that are not listed here.

        Args:
            messages: dictionaries with ``role`` and ``content``. If ``content`` is a list of parts,
                the parts must be text. The messages are changed as little as the template needs:
                a developer is the system, unless the template knows developers; what the template
                would lose or refuse becomes text of a neighbour.
            functions: the old form of ``tools``.
            function_call: the old form of ``tool_choice``.
            tools: functions that the model may call. If the template does not support tools, the
                system message describes them. The model sees a tool of OpenAI's type ``custom`` as
                a function with one string ``input``. The ``format`` of its input must be text.
            tool_choice: ``"none"``, ``"auto"`` (same as ``None``), ``"required"``, or ``{"type":
                "function", "function": {"name": ...}}``, or the same with ``custom``. The last
                values constrain the answer with a grammar from the functions' schemas. OpenAI's
                ``allowed_tools`` chooses among some of the tools, and the model gets only those.
                With ``"auto"`` the grammar begins where the model begins a call; with a
                ``response_format`` too, the answer has calls or is JSON of this format.
            response_format: ``{"type": "json_object"}``, or ``{"type": "json_schema",
                "json_schema": {"schema": ...}}``: the answer is JSON of this form, unless
                ``max_tokens`` ends it early. Keywords of the schema that cannot be enforced
                are logged as a warning, or refused with ``"strict": True``.
            max_tokens: as in `create_completion`.
            logprobs: report the log-probability of each token.
            top_logprobs: also report the log-probabilities of this many alternatives.
            max_completion_tokens: OpenAI's new name of ``max_tokens``. The smaller of both holds.
            parallel_tool_calls: whether the answer may have several calls. ``None`` (default): yes
                with a free choice, no with a forced choice.
            chat_template_kwargs: further variables of the template, such as ``enable_thinking``.
            continue_final_message: the answer continues the last message, which must be text of the
                assistant. The answer contains the new text only. ``"prefix": True`` or ``"partial":
                True`` in the last message means the same.
            add_generation_prompt: whether the prompt ends with the beginning of an answer. ``None``
                (default): yes, unless the answer continues the last message.
            content_logprobs: report log-probabilities only of the tokens whose text is in
                ``content``, and in a stream with the chunk that has this text. It needs
                ``logprobs``. False (default): those of all tokens, with the chunk of each token.

        Returns:
            The answer, or with ``stream`` an iterator of its pieces: see `openai_api.types`. A tool
            call comes argument by argument. Thoughts are in ``reasoning_content``.

        Raises:
            InvalidArgument: or another error of `generate`. The call itself raises these errors;
                the chunks of a stream raise only later errors.
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
            dynatemp_range=dynatemp_range,
            dynatemp_exponent=dynatemp_exponent,
            top_n_sigma=top_n_sigma,
            min_keep=min_keep,
            xtc_probability=xtc_probability,
            xtc_threshold=xtc_threshold,
            repeat_last_n=repeat_last_n,
            dry_multiplier=dry_multiplier,
            dry_base=dry_base,
            dry_allowed_length=dry_allowed_length,
            dry_penalty_last_n=dry_penalty_last_n,
            dry_sequence_breakers=dry_sequence_breakers,
            adaptive_target=adaptive_target,
            adaptive_decay=adaptive_decay,
            samplers=samplers,
            mode=mode,
            policy=policy,
            max_branches=max_branches,
            max_draft=max_draft,
            lookup=lookup,
            lookup_answers=lookup_answers,
            trace=trace,
            stream_options=stream_options,
            ignore_eos=ignore_eos,
            stop_token_ids=stop_token_ids,
            min_tokens=min_tokens,
            continue_final_message=continue_final_message,
            add_generation_prompt=add_generation_prompt,
            lora=lora,
            stopping_criteria=stopping_criteria,
            prediction=prediction,
            return_token_ids=return_token_ids,
            content_logprobs=content_logprobs,
        )
        call = ChatCall(self, given)
        return call.stream() if stream else call.answer()

    def complete(
        self, prompt: str | Sequence[int], **options: Unpack[GenerateKeywords]
    ) -> Completion:
        """Generates a text after a prompt and returns the result, whose ``str()`` is the text.

        Args:
            prompt: text or token ids.
            **options: the keywords of `Engine.generate`, with its defaults.

        Raises:
            InvalidArgument: or another error of `Engine.generate`.
        """
        return self.generate(prompt, **options).result()

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[GenerateKeywords],
    ) -> Completion:
        """Answers messages and returns the result, whose ``str()`` is the text.

        Args:
            messages: a message of the user as a string, or messages as in `create_chat_completion`.
            chat_template_kwargs: further variables of the template.
            **options: the keywords of `Engine.generate`, with its defaults.

        Raises:
            InvalidArgument: or another error of `Engine.generate`.
        """
        from specbranch_cpp.openai_api.chat_completions import chat_generation

        return chat_generation(self, messages, chat_template_kwargs, options).result()
