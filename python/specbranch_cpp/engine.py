"""The engine: a target, usually a draft, and a queue of generations."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING

from specbranch_cpp._engine.keywords import chosen_sampling, chosen_speculation, model_argument
from specbranch_cpp._engine.loading import Loaded, load
from specbranch_cpp._engine.model_options import path_of
from specbranch_cpp._engine.request import (
    Defaults,
    TextRequest,
    make_request,
    make_seeds,
    written_in_python,
)
from specbranch_cpp._pair import pair_profile
from specbranch_cpp._support import checked, logs
from specbranch_cpp.errors import EngineClosed, InvalidArgument
from specbranch_cpp.generation import Generation, Shared
from specbranch_cpp.openai_api.methods import OpenAICalls
from specbranch_cpp.options import Model, Sampling, Speculation
from specbranch_cpp.results import EngineStats, StepCosts

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from specbranch_cpp import _core, policies
    from specbranch_cpp.results import GenerationStats

__all__ = ["Engine"]

_live: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Ends the threads while Python still works."""
    for engine in list(_live):
        engine.close()


class Engine(OpenAICalls):
    """A target model and, for speculation, a draft model that run at the same time.

    One engine may be used from many threads; generations run one after another, in the order of
    the calls.

    The options of the models and of the speculation are keywords, or objects that group and
    document them: `Model` and `Speculation`. Keywords of the target have llama-cpp-python's names;
    those of the draft have the prefix ``draft_``. A keyword that is None was not said; it is an
    error beside an object that has a field of that name.

    Args:
        target: path of the GGUF file whose text is wanted, or a `Model`.
        draft: likewise of a smaller one with the same vocabulary; None: autoregressive only.
        n_ctx: tokens of prompt and text together, default 4096: see `Model.n_ctx`; and so on for
            all keywords up to ``use_extra_bufts``, which are the fields of `Model`.
        draft_n_ctx: the same of the draft; None: the target's value. And so on for all keywords
            with this prefix; ``draft_n_threads``, ``draft_n_threads_batch`` and ``draft_cpus`` have
            defaults of their own.
        speculation: the default of `generate`, as one object.
        mode: how to speculate, default ``"auto"``: see `Speculation.mode`.
        policy: when to stop or branch: see `Speculation.policy`.
        k_max: branches at most, default 4: see `Speculation.k_max`.
        max_draft: tokens drafted ahead at most: see `Speculation.max_draft`.
        warmup: measure what steps cost (`costs`) with dummy tokens while loading. It takes at most
            2 seconds, and tens of milliseconds with small models. Not done without a draft, with
            ``mode="autoregressive"``, or if ``profile`` holds costs of these models on this
            machine.
        profile: path of a file with what was learned before: what steps cost and how often the
            draft is right. Costs measured on another machine or with other threads are left out,
            and all if the models are others; a warning is logged then. `close` saves the current
            measurements to this file and creates it if needed. None: no profile.
        bit_exact: make the logits independent of how many tokens are decoded at once where this
            has a price: with F16, BF16 or F32 weights, and with more than one thread. Single
            tokens are then decoded with a dummy, which may take a multiple of the time. Without
            it, texts of two modes may differ at a near-tie there; with Q8_0 or Q4_0 weights and
            one thread they never do.
        prefix_reuse: what a call keeps of the one before. ``"exact"``: what a fresh call would
            compute in the same way, in chunks of 128 tokens (of ``n_ubatch`` on a GPU);
            ``"fast"``: the whole common prefix, so that a text may differ from a fresh call's at
            near-ties; ``"off"``: nothing.
        chat_template: Jinja template for messages; None: the one in the target's file.
        seed: makes the seeds of calls without one the same in every run.
        verbose: print llama.cpp's log to stderr. It always goes to the logger ``specbranch_cpp``.
        progress_callback: called with the share loaded so far, 0.0 to 1.0, on this thread; what it
            raises stops the loading and comes out.

    Raises:
        InvalidArgument: an option is of the wrong kind or out of its range, or said twice.
        ModelLoadError: a file is missing, damaged or no model that generates, or the memory does
            not suffice.
        IncompatibleModels: the draft has another vocabulary, or is recurrent.

    Sources: SpecBranch (arXiv:2506.01979), PEARL (arXiv:2408.11850), speculative decoding
    (arXiv:2211.17192).
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | Model,
        draft: str | os.PathLike[str] | Model | None = None,
        *,
        n_ctx: int | None = None,
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
        speculation: Speculation | None = None,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        k_max: int | None = None,
        max_draft: int | None = None,
        warmup: bool = True,
        profile: str | os.PathLike[str] | None = None,
        bit_exact: bool = False,
        prefix_reuse: str = "exact",
        chat_template: str | None = None,
        seed: int | None = None,
        verbose: bool = False,
        progress_callback: Callable[[float], object] | None = None,
    ) -> None:
        of_target = Model(
            path_of(target),
            n_ctx=n_ctx,
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
            use_mmap=use_mmap,
            use_mlock=use_mlock,
            check_tensors=check_tensors,
            use_extra_bufts=use_extra_bufts,
        )
        the_target = model_argument("target", target, of_target, "")
        the_draft = None
        if draft is not None:
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
        keywords = Speculation(mode=mode, policy=policy, k_max=k_max, max_draft=max_draft)
        seeds = make_seeds(seed)
        if chat_template is not None:
            checked.encoded("chat_template", chat_template)
        loaded = load(
            the_target,
            the_draft,
            chosen_speculation(speculation, keywords),
            warmup=warmup,
            profile=profile,
            bit_exact=bit_exact,
            prefix_reuse=prefix_reuse,
            verbose=verbose,
            progress_callback=progress_callback,
        )
        self._start(loaded, seeds, chat_template)

    def _start(
        self, loaded: Loaded, seeds: random.Random, chat_template: str | None = None
    ) -> None:
        self._core = loaded.core
        self._defaults = loaded.defaults
        self._seeds = seeds
        self._names = loaded.names
        self._pair = loaded.pair
        self._shared = Shared()
        self._key = loaded.key
        self._profile_path = loaded.profile
        self._chat_template = chat_template
        self._pid = os.getpid()
        _live.add(self)

    @classmethod
    def _from_core(cls, core: _core.Engine) -> Engine:
        """An engine around fakes, for tests."""
        engine = cls.__new__(cls)
        mode = "specbranch" if core.can_speculate else "autoregressive"
        names = ["fake"] * (1 + core.can_speculate)
        loaded = Loaded(core, Defaults(mode), names, key=dict if core.can_speculate else None)
        engine._start(loaded, make_seeds(None))
        return engine

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repeat_penalty: float | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        logit_bias: Mapping[int, float] | None = None,
        grammar: str | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        logprobs: int | None = None,
        speculation: Speculation | None = None,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        k_max: int | None = None,
        max_draft: int | None = None,
        trace: bool = False,
        n_feature_layers: int = 0,
    ) -> Generation:
        """Checks the request, queues it, and returns at once.

        The same prompt, settings and seed give the same text in every mode and with every policy.
        How tokens are chosen and how they are speculated can be said with keywords or with objects
        that document them, `Sampling` and `Speculation`; a keyword that is None was not said.

        Args:
            prompt: text, not empty: tokenized with the BOS token that the model asks for, and
                with names of control tokens (``<|im_start|>``) read as these tokens. Or token ids,
                taken as they are (for text from strangers, `tokenize` does not read names).
            max_tokens: tokens of the text at most; None: until the context is full; 0: none,
                the empty text.
            sampling: how tokens are chosen, as one object.
            temperature: 0, the default: the most probable token; 1: the model's distribution.
            top_k: keep the k most probable tokens; 0, the default, or -1: all.
            top_p: keep the most probable tokens that together have this probability; default 1:
                all.
            min_p: drop tokens less probable than this share of the best one's; default 0: none.
            repeat_penalty: divide the logits of the last 64 tokens by this, those of the prompt
                included; default 1: off.
            presence_penalty: subtract this from the logit of each of these tokens; default 0: off.
            frequency_penalty: subtract this for every time that such a token occurs; default 0:
                off.
            logit_bias: added to the logits of single tokens; ``-inf`` forbids one.
            grammar: GBNF with a rule ``root`` that the text must follow.
            stop: strings before the first of which the text is cut.
            seed: key of the choice at temperatures above 0, 0 to 2**64 - 1; None draws one, which
                the stats name.
            logprobs: report log-probabilities of each token and of this many alternatives; None:
                none.
            speculation: how the text is speculated, as one object.
            mode: None: the engine's; ``"specbranch"`` for a ``policy`` where that is ``"auto"``.
            policy: None: the engine's. ``"auto"``, which decides by itself, takes none.
            k_max: branches at most, not more than the engine's; None: the engine's.
            max_draft: tokens drafted ahead at most, as above.
            trace: record what each model did when (``Completion.trace``).
            n_feature_layers: with ``trace``, also record the inputs of so many of the target's
                last layers at every round, the deepest last, and behind them the embedding of the
                newest token (``TraceRound.features``); 0: none. At most the engine's
                ``n_feature_layers``.

        Raises:
            InvalidArgument: an argument is of the wrong kind or out of its range, or said twice.
            ContextOverflow: the prompt leaves no room in the context.
            EngineClosed: the engine was closed, or this process is a fork of the one that made it.
            DecodeError: an earlier error has left the models in an unknown state.
        """
        keywords = Speculation(mode=mode, policy=policy, k_max=k_max, max_draft=max_draft)
        return self._submit(
            TextRequest(
                prompt=prompt,
                sampling=chosen_sampling(
                    sampling,
                    temperature=temperature,
                    top_k=top_k,
                    top_p=top_p,
                    min_p=min_p,
                    repeat_penalty=repeat_penalty,
                    presence_penalty=presence_penalty,
                    frequency_penalty=frequency_penalty,
                    logit_bias=logit_bias,
                    grammar=grammar,
                    seed=seed,
                ),
                speculation=chosen_speculation(speculation, keywords),
                max_tokens=max_tokens,
                stop=stop,
                logprobs=logprobs,
                trace=trace,
                n_feature_layers=n_feature_layers,
            )
        )

    def _submit(self, asked: TextRequest) -> Generation:
        request = make_request(self._core, self._defaults, asked, self._seeds, self._pair)
        policy = asked.speculation.value.policy
        generation = Generation(
            self,
            self._shared,
            self._core.generate(request),
            logprobs=asked.logprobs is not None,
            trace=asked.trace,
            policy=written_in_python(self._defaults.policy if policy is None else policy),
            n_prompt=len(request.prompt),
        )
        logs.forward()
        return generation

    @property
    def stats(self) -> EngineStats:
        """Totals over the generations that have ended."""
        return EngineStats._from_core(self._core.stats)

    @property
    def costs(self) -> StepCosts | None:
        """What steps cost, measured while loading and refined since; None: not known."""
        core = self._core
        return StepCosts._from_core(core.profile.costs, core.stats.warmup_ms)

    def save_profile(self, path: str | os.PathLike[str]) -> None:
        """Writes what was learned of the two models, for ``Engine(..., profile=path)``.

        It is JSON: what steps cost here, how often the draft was right, and by what to recognise
        models and machine. A file that is there is replaced in one piece.

        Raises:
            InvalidArgument: the engine has no draft.
            EngineClosed: this process is a fork of the one that made the engine.
            OSError: the file cannot be written.
        """
        file = os.fsdecode(checked.path("path", path))
        if os.getpid() != self._pid:
            raise EngineClosed("the engine was made before this process was forked")
        if self._key is None:
            raise InvalidArgument("an engine without a draft has no profile")
        pair_profile.save(file, self._key(), self._core.profile)

    def on_end(self, listener: Callable[[GenerationStats], object]) -> None:
        """Has ``listener`` called with what each generation did and cost, from now on.

        It is called once a generation, cancelled ones included, in the thread that reads its end;
        not for one whose end nobody reads, or that fails. It must not raise.
        """
        self._shared.listeners.append(listener)

    @property
    def closed(self) -> bool:
        """After `close`, and in a fork of the process that made the engine."""
        return self._core.closed

    def close(self) -> None:
        """Cancels what is running, waits for the threads, and frees the models. Final.

        Running generations end with ``finish_reason`` ``"cancelled"``; what they made can still be
        read. Closing twice does nothing. The profile that the engine was made with is written; if
        that fails, a warning is logged.
        """
        if os.getpid() == self._pid:  # a forked child must touch nothing that threads share
            self._core.close()
            logs.forward()
            path, self._profile_path = self._profile_path, None
            if path is not None:
                try:
                    self.save_profile(path)
                except OSError as error:
                    logs.PROFILES.warning("profile %r was not written: %s", path, error.strerror)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        draft = f", draft={self._names[1]!r}" if len(self._names) > 1 else ""
        closed = ", closed" if self.closed else ""
        mode = self._defaults.mode
        return f"<Engine: {self._names[0]!r}{draft}, mode={mode!r}, n_ctx={self.n_ctx}{closed}>"
