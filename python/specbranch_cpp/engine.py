"""The engine: a target model, optionally a draft model, and a queue of generations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from specbranch_cpp._engine.adapters import adapter_options
from specbranch_cpp._engine.keywords import chosen_speculation, generate_request, model_argument
from specbranch_cpp._engine.lifetime import Lifetime
from specbranch_cpp._engine.load_options import check_options
from specbranch_cpp._engine.loading import fake_parts, load
from specbranch_cpp._engine.many_texts import ManyTexts
from specbranch_cpp._engine.model_options import path_of
from specbranch_cpp._engine.pretrained import FromPretrained
from specbranch_cpp._engine.request import (
    CheckedRequest,
    TextRequest,
    add_processing,
    make_request,
    make_seeds,
    written_in_python,
)
from specbranch_cpp._engine.text_sources import TextSources, refuse_prompt_lookup
from specbranch_cpp._isolated.loading import isolated_loader
from specbranch_cpp._support import checked, logs
from specbranch_cpp.generation import Generation, Shared
from specbranch_cpp.openai_api.methods import OpenAICalls
from specbranch_cpp.options import Model, Sampling, Speculation

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from specbranch_cpp import _core, policies
    from specbranch_cpp._engine.adapters import LoraChoice, LoraFiles
    from specbranch_cpp._engine.text_sources import CorpusText, Prediction
    from specbranch_cpp.grammars import JsonSchema, Lark, Regex
    from specbranch_cpp.processors import Criteria, LogitsProcessors

__all__ = ["Engine"]


class Engine(OpenAICalls, ManyTexts, Lifetime, FromPretrained):
    """A target model and, for speculation, a draft model that run at the same time.

    Many threads may use one engine. Generations begin in the order of the calls, and
    ``n_parallel`` of them run at once.

    The options of the models and of the speculation are keywords, or objects that group and
    document them: `Model` and `Speculation`. Keywords of the target have the names of
    llama-cpp-python. Keywords of the draft have the prefix ``draft_``. A keyword that is ``None``
    counts as not given. A keyword beside an object with a field of that name is an error.

    Args:
        target: path of the GGUF file that generates the text, or a `Model`.
        draft: path of a smaller GGUF file with the same vocabulary, or a `Model`. ``None``
            (default): no draft model; the text itself and other texts propose tokens (``lookup``).
        n_ctx: the largest number of tokens of prompt and text together, default 4096: see
            `Model.n_ctx`. All keywords from here to ``use_extra_bufts`` are fields of `Model`.
        draft_n_ctx: the same number for the draft. ``None`` (default): the value of the target. All
            other keywords with this prefix are fields of `Model`, too. The numbers of threads and
            GPU layers, and ``draft_cpus``, have their own defaults. Without a draft they have no
            effect, so that one set of options serves an engine with a draft and one without.
        lora: path of a LoRA adapter (GGUF) for the target, or a sequence of paths or of ``(path,
            scale)``. These scales are the defaults of `generate`; 1: as trained; 0: loaded, but
            off. The draft is not adapted: an adapter changes the text, and the acceptance rate.
        lora_path: llama-cpp-python's name for one adapter; ``lora_scale``: its scale, default 1.
        speculation: the default speculation options of `generate`, as one object.
        mode: the default mode of `generate`, default ``"auto"``: see `Speculation.mode`.
        policy: the default policy of `generate`: see `Speculation.policy`.
        max_branches: the largest number of branches, default 4: see `Speculation.max_branches`.
        max_draft: the largest number of tokens to draft ahead: see `Speculation.max_draft`.
        lookup: whether texts propose tokens, default True: see `Speculation.lookup`.
        lookup_answers: whether earlier answers do so, default True: see
            `Speculation.lookup_answers`.
        corpus: texts that answers will probably quote: each a text, the path of a UTF-8 file, or
            token ids; at most 64 MiB in total. ``None`` (default): no texts.
        n_parallel: the largest number of generations that run at once, 1 to 16. Default 1: the next
            generation begins when the one before has ended. The KV caches of both models take this
            number of times the memory, or that of ``n_ctx_total`` tokens. The text of a generation
            does not depend on the others, except at near-ties, as between two modes. Not with
            ``bit_exact`` or ``swa_full=False``, and not with three architectures whose texts
            llama.cpp would confuse (PLaMo-2, RWKV6-Qwen2, ARWKV7): `IncompatibleModels`.
        measure_costs: measure step costs (`costs`) with dummy tokens while loading, in at most 2
            seconds. Nothing is measured without a draft and ``lookup``, with
            ``mode="autoregressive"``, or if ``profile`` has these costs.
        profile: path of a file with measurements of earlier runs: step costs and acceptance rates.
            Costs from another machine or with other threads, and files of other models, are ignored
            with a warning. `close` saves the measurements there. Only with a draft. ``None``
            (default): no profile.
        bit_exact: give every token the same logits in every mode, to the last bit. While loading,
            the engine tests which batch sizes agree with single tokens on this machine, and decodes
            no others: see `exact_rows`. This takes seconds with a large model, once. A step over
            one token can take several times as long. Without it, texts of two modes can diverge at
            a near-tie with most weight types; with Q8_0 or Q4_0 and one thread they never do.
        prefix_reuse: which KV cells of the common prefix a call reuses from the call before.
            ``"exact"``: the cells that a fresh call would compute in the same batches, in chunks of
            128 tokens (of ``n_ubatch`` tokens on a GPU). ``"fast"``: all cells; a text can then
            differ from that of a fresh call at near-ties. ``"off"``: no cells.
        chat_template: Jinja template for messages. ``None`` (default): that of the target's file.
        seed: start value for the seeds of calls without a ``seed``, so that every run uses the same
            seeds. ``None`` (default): random seeds.
        trusted: load files without a trial. Default False: a child process loads a file that is new
            to this user first, because llama.cpp dies of many damaged files; what passed is
            remembered in ``~/.cache/specbranch_cpp``. ``SPECBRANCH_FILE_TRIAL=0`` trusts all files.
        rpc_servers: addresses of hosts whose devices take layers of the target, each with a running
            ``specbranch rpc-serve``: ``["10.0.0.2:50052"]``. Their devices (``RPC0`` ...) come
            first, then the GPUs of this host; the draft stays on this host. Needs a llama.cpp with
            its RPC backend. Such an engine is always isolated (``isolate``), and a host that is
            lost ends its texts with `EngineDied`. ``None`` (default): no other hosts.
        isolate: run the engine in a process of its own. If that process ends by itself, texts end
            with `EngineDied`, and `restart` loads the models again. Default False.
        isolate_timeout: seconds without a token or a part of a prompt (``n_batch`` tokens) after
            which that process is killed, if it has work. ``None`` (default): no limit.
        verbose: print llama.cpp's log to stderr. The log also goes to the logger
            ``specbranch_cpp``, always.
        progress_callback: a function that is called on this thread with the share that is loaded,
            0.0 to 1.0. If it raises an exception, loading stops with that exception.

    Raises:
        InvalidArgument: an option has the wrong type, is out of its range, or is given twice; or
            ``bit_exact`` is True, and no batch of two tokens agrees with single tokens.
        ModelLoadError: a file is missing, damaged, not a model that generates text, or not a LoRA
            adapter of the target; or there is not enough memory; the message then says which
            settings would fit; or a host of ``rpc_servers`` cannot be used.
        IncompatibleModels: more than 5 % of the draft's tokens have other texts.

    Sources: SpecBranch (arXiv:2506.01979), PEARL (arXiv:2408.11850), speculative decoding
    (arXiv:2211.17192).
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | Model,
        draft: str | os.PathLike[str] | Model | None = None,
        *,
        n_ctx: int | None = None,
        n_ctx_total: int | None = None,
        cache_ram: int | None = None,
        n_batch: int | None = None,
        n_ubatch: int | None = None,
        flash_attn: bool | None = None,
        type_k: int | str | None = None,
        type_v: int | str | None = None,
        n_gpu_layers: int | None = None,
        main_gpu: int | None = None,
        devices: Sequence[str] | None = None,
        split_mode: int | None = None,
        tensor_split: Sequence[float] | None = None,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        cpus: Sequence[int] | None = None,
        offload_kqv: bool | None = None,
        swa_full: bool | None = None,
        use_mmap: bool | None = None,
        use_mlock: bool | None = None,
        check_tensors: bool | None = None,
        use_extra_bufts: bool | None = None,
        draft_n_ctx: int | None = None,
        draft_n_batch: int | None = None,
        draft_n_ubatch: int | None = None,
        draft_flash_attn: bool | None = None,
        draft_type_k: int | str | None = None,
        draft_type_v: int | str | None = None,
        draft_n_gpu_layers: int | None = None,
        draft_main_gpu: int | None = None,
        draft_devices: Sequence[str] | None = None,
        draft_split_mode: int | None = None,
        draft_tensor_split: Sequence[float] | None = None,
        draft_n_threads: int | None = None,
        draft_n_threads_batch: int | None = None,
        draft_cpus: Sequence[int] | None = None,
        draft_offload_kqv: bool | None = None,
        draft_use_mmap: bool | None = None,
        draft_use_mlock: bool | None = None,
        draft_check_tensors: bool | None = None,
        draft_use_extra_bufts: bool | None = None,
        lora: LoraFiles | None = None,
        lora_path: str | os.PathLike[str] | None = None,
        lora_scale: float | None = None,
        speculation: Speculation | None = None,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        max_branches: int | None = None,
        max_draft: int | None = None,
        lookup: bool | None = None,
        lookup_answers: bool | None = None,
        corpus: Sequence[CorpusText] | None = None,
        n_parallel: int = 1,
        measure_costs: bool = True,
        profile: str | os.PathLike[str] | None = None,
        bit_exact: bool = False,
        prefix_reuse: str = "exact",
        chat_template: str | None = None,
        seed: int | None = None,
        trusted: bool = False,
        rpc_servers: Sequence[str] | None = None,
        isolate: bool = False,
        isolate_timeout: float | None = None,
        verbose: bool = False,
        progress_callback: Callable[[float], object] | None = None,
    ) -> None:
        of_target = Model(
            path_of(target),
            n_ctx=n_ctx,
            n_ctx_total=n_ctx_total,
            cache_ram=cache_ram,
            n_batch=n_batch,
            n_ubatch=n_ubatch,
            flash_attn=flash_attn,
            type_k=type_k,
            type_v=type_v,
            n_gpu_layers=n_gpu_layers,
            main_gpu=main_gpu,
            devices=devices,
            split_mode=split_mode,
            tensor_split=tensor_split,
            n_threads=n_threads,
            n_threads_batch=n_threads_batch,
            cpus=cpus,
            offload_kqv=offload_kqv,
            swa_full=swa_full,
            use_mmap=use_mmap,
            use_mlock=use_mlock,
            check_tensors=check_tensors,
            use_extra_bufts=use_extra_bufts,
        )
        the_target = model_argument("target", target, of_target, "")
        the_draft = None
        if draft is not None:
            refuse_prompt_lookup(draft)
            of_draft = Model(
                path_of(draft),
                n_ctx=draft_n_ctx,
                n_batch=draft_n_batch,
                n_ubatch=draft_n_ubatch,
                flash_attn=draft_flash_attn,
                type_k=draft_type_k,
                type_v=draft_type_v,
                n_gpu_layers=draft_n_gpu_layers,
                main_gpu=draft_main_gpu,
                devices=draft_devices,
                split_mode=draft_split_mode,
                tensor_split=draft_tensor_split,
                n_threads=draft_n_threads,
                n_threads_batch=draft_n_threads_batch,
                cpus=draft_cpus,
                offload_kqv=draft_offload_kqv,
                use_mmap=draft_use_mmap,
                use_mlock=draft_use_mlock,
                check_tensors=draft_check_tensors,
                use_extra_bufts=draft_use_extra_bufts,
            )
            the_draft = model_argument("draft", draft, of_draft, "draft_")
            the_draft = the_draft.inheriting(the_target.model)
        keywords = Speculation(
            mode=mode,
            policy=policy,
            max_branches=max_branches,
            max_draft=max_draft,
            lookup=lookup,
            lookup_answers=lookup_answers,
        )
        said = chosen_speculation(speculation, keywords)
        seeds = make_seeds(seed)
        if chat_template is not None:
            checked.encoded("chat_template", chat_template)
        options = check_options(
            the_target,
            the_draft,
            said,
            adapters=adapter_options(lora, lora_path, lora_scale),
            sources=TextSources.of(said, corpus),
            n_parallel=n_parallel,
            measure_costs=measure_costs,
            profile=profile,
            bit_exact=bit_exact,
            prefix_reuse=prefix_reuse,
            trusted=trusted,
            rpc_servers=rpc_servers,
            verbose=verbose,
            progress_callback=progress_callback,
        )
        self._reload = isolated_loader(options, isolate, isolate_timeout)
        load_models = self._reload or partial(load, options)
        self._begin(partial(load_models, progress_callback), Shared(), seeds, chat_template)

    @classmethod
    def _from_core(cls, core: _core.Engine) -> Engine:
        """An engine with fake models, for tests."""
        engine = cls.__new__(cls)
        engine._begin(partial(fake_parts, core), Shared(), make_seeds(None))
        return engine

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        temperature: float | None = None,
        dynatemp_range: float | None = None,
        dynatemp_exponent: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        top_n_sigma: float | None = None,
        min_keep: int | None = None,
        xtc_probability: float | None = None,
        xtc_threshold: float | None = None,
        repeat_last_n: int | None = None,
        repeat_penalty: float | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        dry_multiplier: float | None = None,
        dry_base: float | None = None,
        dry_allowed_length: int | None = None,
        dry_penalty_last_n: int | None = None,
        dry_sequence_breakers: Sequence[str] | None = None,
        mirostat_mode: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
        adaptive_target: float | None = None,
        adaptive_decay: float | None = None,
        samplers: Sequence[str] | None = None,
        logit_bias: Mapping[int, float] | None = None,
        grammar: str | Lark | Regex | JsonSchema | None = None,
        stop: str | Sequence[str] | None = None,
        stop_token_ids: Sequence[int] | None = None,
        min_tokens: int = 0,
        seed: int | None = None,
        logprobs: int | None = None,
        prompt_logprobs: int | None = None,
        lora: LoraChoice | None = None,
        speculation: Speculation | None = None,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        max_branches: int | None = None,
        max_draft: int | None = None,
        lookup: bool | None = None,
        lookup_answers: bool | None = None,
        prediction: Prediction | None = None,
        trace: bool = False,
        n_feature_layers: int = 0,
        logits_processor: LogitsProcessors = None,
        stopping_criteria: Criteria = None,
    ) -> Generation:
        """Checks the request, queues it, and returns at once.

        The same prompt, settings and seed give the same text in every mode and with every policy.
        The options of sampling and speculation are keywords, or objects that document them:
        `Sampling` and `Speculation`. A keyword that is ``None`` counts as not given.

        Args:
            prompt: a text that is not empty, or token ids. A text gets the BOS token if the model
                asks for it and the text does not begin with it. Names of control tokens in a text
                (``<|im_start|>``) become these tokens. For untrusted text, pass the ids from
                `tokenize`, which by default does not read these names.
            max_tokens: the largest number of tokens to generate; 0 gives the empty text. ``None``
                (default): generate until the context is full.
            sampling: the sampling options, as one object.
            temperature: 0 (default): the most probable token; 1: the model's distribution. All
                keywords from here to ``grammar``, and ``seed``, are fields of `Sampling`, which
                describes them. By default no sampler is on.
            stop: strings at which the text ends. The text is cut before the first of them.
            stop_token_ids: tokens that end the text, which does not contain them.
            min_tokens: the number of tokens before which no end token, stop token or stop string
                ends the text. A grammar that allows no more tokens does.
            seed: key of the random choice. ``None`` (default): the engine draws a seed, and
                ``stats.seed`` contains it.
            logprobs: report log-probabilities of each token and of this many alternatives. ``None``
                (default): report none.
            prompt_logprobs: the same for the tokens of the prompt (``Completion.prompt_logprobs``),
                also with ``max_tokens=0``. The target then reads all of the prompt again.
            lora: the LoRA adapters of this call, by name or index (`lora_adapters`), alone or as
                ``(name, scale)``. An adapter that is not in the list is off. ``None`` (default):
                those of the engine. A call with other adapters than the call before reuses nothing.
            speculation: the speculation options, as one object.
            mode: the mode of this call. ``None`` (default): the mode of the engine; if that is
                ``"auto"`` and the call has a ``policy``, ``"specbranch"``.
            policy: the policy of this call. ``None`` (default): the policy of the engine. Mode
                ``"auto"`` takes no policy.
            max_branches: the largest number of branches, at most that of the engine. ``None``
                (default): the value of the engine.
            max_draft: the largest number of tokens to draft ahead, at most that of the engine.
                ``None`` (default): the value of the engine, but at most 8 in modes other than
                ``"auto"``.
            lookup: whether texts propose tokens. ``None`` (default): the value of the engine.
            lookup_answers: whether earlier answers do so, and this answer may later. ``None``
                (default): the value of the engine.
            prediction: a text that the answer probably resembles, such as the file that it edits,
                or its token ids; shorter than the context. Where the answer follows it, verifying
                replaces decoding. Names of control tokens in it are plain text. The answer does not
                depend on it. Beside a draft model it has an effect in mode ``"auto"`` only.
                ``None`` (default): no prediction.
            trace: record what each model does at which time (``Completion.trace``).
            n_feature_layers: with ``trace``, also record in every round the inputs of this number
                of the target's last layers, the deepest layer last, and then the embedding of the
                newest token (``TraceRound.features``). 0 (default): record none. The largest value
                is the engine's ``n_feature_layers``. Needs ``trace``.
            logits_processor: functions ``(input_ids, scores) -> scores``, or masks, that edit the
                logits before all samplers: see `processors`.
            stopping_criteria: functions ``(input_ids, logits) -> bool`` that may end the text.

        Raises:
            InvalidArgument: an argument has the wrong type, is out of its range, or is given twice.
            ContextOverflow: the prompt leaves no room in the context.
            EngineClosed: the engine was closed, or it was created before this process was forked.
            DecodeError: an earlier error left the target in an unknown state.
        """
        return self._submit(
            generate_request(
                prompt,
                max_tokens=max_tokens,
                sampling=sampling,
                temperature=temperature,
                dynatemp_range=dynatemp_range,
                dynatemp_exponent=dynatemp_exponent,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                typical_p=typical_p,
                top_n_sigma=top_n_sigma,
                min_keep=min_keep,
                xtc_probability=xtc_probability,
                xtc_threshold=xtc_threshold,
                repeat_last_n=repeat_last_n,
                repeat_penalty=repeat_penalty,
                presence_penalty=presence_penalty,
                frequency_penalty=frequency_penalty,
                dry_multiplier=dry_multiplier,
                dry_base=dry_base,
                dry_allowed_length=dry_allowed_length,
                dry_penalty_last_n=dry_penalty_last_n,
                dry_sequence_breakers=dry_sequence_breakers,
                mirostat_mode=mirostat_mode,
                mirostat_tau=mirostat_tau,
                mirostat_eta=mirostat_eta,
                adaptive_target=adaptive_target,
                adaptive_decay=adaptive_decay,
                samplers=samplers,
                logit_bias=logit_bias,
                grammar=grammar,
                stop=stop,
                stop_token_ids=stop_token_ids,
                min_tokens=min_tokens,
                seed=seed,
                logprobs=logprobs,
                prompt_logprobs=prompt_logprobs,
                lora=lora,
                speculation=speculation,
                mode=mode,
                policy=policy,
                max_branches=max_branches,
                max_draft=max_draft,
                lookup=lookup,
                lookup_answers=lookup_answers,
                prediction=prediction,
                trace=trace,
                n_feature_layers=n_feature_layers,
                logits_processor=logits_processor,
                stopping_criteria=stopping_criteria,
            )
        )

    def _submit(self, asked: TextRequest) -> Generation:
        return self._queue(self._checked(asked))

    def _checked(self, asked: TextRequest) -> CheckedRequest:
        request = make_request(self._core, self._defaults, asked, self._seeds, self._pair)
        return CheckedRequest(asked, request, add_processing(request, asked, self._core.n_vocab))

    def _queue(self, checked_request: CheckedRequest) -> Generation:
        asked, request = checked_request.asked, checked_request.request
        policy = asked.speculation.value.policy
        if self._shared.texts.are_watched:
            request.trace = True
        generation = Generation(
            self,
            self._shared,
            self._core.generate(request),
            request,
            logprobs=asked.logprobs is not None,
            trace=asked.trace,
            policy=written_in_python(self._defaults.policy if policy is None else policy),
            processing=checked_request.processing,
            scores_prompt=asked.prompt_logprobs is not None,
        )
        logs.forward()
        return generation

    def __repr__(self) -> str:
        draft = f", draft={self._names[1]!r}" if len(self._names) > 1 else ""
        closed = ", closed" if self.closed else ""
        mode = self._defaults.mode
        return f"<Engine: {self._names[0]!r}{draft}, mode={mode!r}, n_ctx={self.n_ctx}{closed}>"
