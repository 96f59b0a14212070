"""The engine: a target, usually a draft, and a queue of generations."""

from __future__ import annotations

import atexit
import os
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp import _core, policies
from specbranch_cpp._engine.model_options import model_options
from specbranch_cpp._engine.request import (
    STEERED_MODE,
    Defaults,
    make_request,
    make_seeds,
    written_in_python,
)
from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._pair import pair_profile
from specbranch_cpp._pair.hrad_weights import PairFiles, check_pair
from specbranch_cpp._support import checked, logs
from specbranch_cpp._support.tensor_source import source_of
from specbranch_cpp.errors import EngineClosed, InvalidArgument
from specbranch_cpp.generation import Generation, Shared
from specbranch_cpp.openai_api.methods import OpenAICalls
from specbranch_cpp.results import EngineStats, StepCosts

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any

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

    Names and meanings of the options are those of llama-cpp-python; those of the draft have the
    prefix ``draft_``, and where they are None the target's value holds, but for threads and CPUs.
    One engine may be used from many threads; generations run one after another, in the order of
    the calls.

    Args:
        target: path of the GGUF file whose text is wanted.
        draft: path of a smaller one with the same vocabulary; None: autoregressive only.
        n_ctx: tokens of prompt and text together; 0: what the model was trained with.
        n_batch: tokens of one call of llama.cpp at most.
        n_ubatch: tokens of one forward pass at most.
        flash_attn: without it, the scores depend on where in the cache a text lies, so that modes
            may differ at near-ties.
        type_k: type of the K cache, by ggml's number or a name such as ``"q8_0"``; None: f16.
        type_v: type of the V cache; a quantized one needs flash attention.
        n_gpu_layers: layers on GPUs; -1: all.
        main_gpu: the GPU that is used if ``split_mode`` is 0.
        devices: ggml's names (``"CUDA0"``) of the devices to use; None: all.
        split_mode: 0 one GPU, 1 by layers, 2 by rows, 3 by tensors.
        tensor_split: share of each GPU; None: by their free memory.
        n_threads: threads; None: the draft gets a quarter of the cores and at least one, the
            target the others; a model that is on GPUs altogether (``n_gpu_layers=-1``) gets one.
            As both run at the same time, more threads than cores are slow.
        n_threads_batch: threads for more than one token at once; None: as ``n_threads``.
        cpus: numbers of the CPUs that the model's threads are pinned to; None: any.
        offload_kqv: keep the cache on the GPU of its layer.
        use_mmap: map the file instead of reading it.
        use_mlock: keep the weights from being swapped out.
        check_tensors: refuse weights that are NaN or infinite; costs one pass over the file.
        use_extra_bufts: let llama.cpp repack weights for this CPU.
        mode: the default of `generate`: ``"autoregressive"``, ``"speculative"``, ``"pearl"``,
            ``"specbranch"`` or ``"auto"``, which picks what is fastest by what steps cost and how
            often the draft is right; None: ``"auto"``; with a ``policy`` ``"specbranch"``, without
            a draft ``"autoregressive"``.
        policy: the default of `generate`: one of `specbranch_cpp.policies`, or an object of your
            own (`policies.Policy`); None: ``policies.Confidence()``. ``"auto"`` takes none.
        k_max: branches at most, 1 to 32; the draft's cache has room for them.
        max_draft: tokens drafted ahead at most, 1 to 64; the cache has room for them too. None: 16
            in mode ``"auto"``, which finds how far it pays, and 8 in the others.
        warmup: measure what steps cost (`costs`) with dummy tokens while loading. It takes at most
            2 seconds, and tens of milliseconds with small models. Not done without a draft, with
            ``mode="autoregressive"``, or if ``profile`` holds costs of these models on this
            machine.
        profile: path of a file with what was learned before: what steps cost and how often the
            draft is right. Costs measured on another machine or with other threads are left out,
            and all if the models are others; a warning is logged then. `close` writes what is
            known at that time to the file, which need not be there before. None: none.
        bit_exact: make the scores independent of how many tokens are decoded at once where this
            has a price: with F16, BF16 or F32 weights, and with more than one thread. Single
            tokens are then decoded with a dummy, which may take a multiple of the time. Without
            it, texts of two modes may part at a near-tie there; with Q8_0 or Q4_0 weights and one
            thread they never do.
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
        InvalidArgument: an option is of the wrong kind or out of its range.
        ModelLoadError: a file is missing, damaged or no model that generates, or the memory does
            not suffice.
        IncompatibleModels: the draft has another vocabulary, or is recurrent.

    Sources: SpecBranch (arXiv:2506.01979), PEARL (arXiv:2408.11850), speculative decoding
    (arXiv:2211.17192).
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        draft: str | os.PathLike[str] | None = None,
        *,
        n_ctx: int = 4096,
        n_batch: int = 512,
        n_ubatch: int = 512,
        flash_attn: bool = True,
        type_k: int | str | None = None,
        type_v: int | str | None = None,
        n_gpu_layers: int = 0,
        main_gpu: int = 0,
        devices: Sequence[str] | None = None,
        split_mode: int = 1,
        tensor_split: Sequence[float] | None = None,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        cpus: Sequence[int] | None = None,
        offload_kqv: bool = True,
        use_mmap: bool = True,
        use_mlock: bool = False,
        check_tensors: bool = True,
        use_extra_bufts: bool = True,
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
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        k_max: int = 4,
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
        given = dict(locals())
        own = ("n_threads", "n_threads_batch", "cpus")  # never the target's
        values = {name[6:]: given[name] for name in given if name.startswith("draft_")}
        of_draft = {
            name: given[name] if value is None and name not in own else value
            for name, value in values.items()
        }
        target_options = model_options(target, {name: given[name] for name in values})
        draft_options = None if draft is None else model_options(draft, of_draft, "draft_")
        checked.flag("verbose", verbose)
        if progress_callback is not None and not callable(progress_callback):
            raise InvalidArgument(
                f"progress_callback is {progress_callback!r}; it must be callable or None"
            )

        shown = -1.0

        def idle(share: float | None) -> None:
            nonlocal shown
            logs.forward()
            if share is not None and share > shown and progress_callback is not None:
                shown = share
                progress_callback(share)

        defaults = Defaults(
            mode=("auto" if policy is None else STEERED_MODE) if mode is None else mode,
            policy=policy,
            k_max=checked.integer("k_max", k_max, 1, _core.MAX_BRANCHES),
            max_draft=max_draft
            if max_draft is None
            else checked.integer("max_draft", max_draft, 1, _core.MAX_DRAFT),
        )
        if draft is None and mode not in (None, "autoregressive"):
            raise InvalidArgument(f"mode is {mode!r}; without a draft it must be 'autoregressive'")
        seeds = make_seeds(seed)
        checked.text("prefix_reuse", prefix_reuse)
        if chat_template is not None:
            checked.encoded("chat_template", chat_template)
        checked.flag("bit_exact", bit_exact)
        measure = checked.flag("warmup", warmup) and mode != "autoregressive"
        profile_path = None
        if profile is not None:
            profile_path = str(Path(os.fsdecode(checked.path("profile", profile))).absolute())
            if draft is None:
                raise InvalidArgument(f"profile is {profile!r}; without a draft it must be None")
        if verbose:
            logs.show()
        names = [os.fsdecode(path) for path in (target, draft) if path is not None]
        cpu_probe.ensure_safe_cpu(names)
        key = None
        if draft_options is not None:
            _core.plan_threads(target_options, draft_options)
            key = partial(
                pair_profile.make_key,
                target=names[0],
                draft=names[1],
                target_options=target_options,
                draft_options=draft_options,
                bit_exact=bit_exact,
            )
        known = _core.PairProfile()
        if profile_path is not None and key is not None:
            known = pair_profile.load(profile_path, key())
        try:
            core = _core.load_engine(
                target_options,
                draft_options,
                max_draft=defaults.draft_room,
                k_max=k_max,
                prefix_reuse=prefix_reuse,
                bit_exact=bit_exact,
                warm_up=measure,
                profile=known,
                idle=idle,
                target_source=source_of(target),
                draft_source=source_of(draft),
            )
        finally:
            logs.forward()
        if mode is None and not core.can_speculate:
            defaults = replace(defaults, mode="autoregressive")
        if measure and core.can_speculate and not core.profile.costs.known:
            logs.LOGGER.warning("the warm-up failed: what steps cost is not known")
        pair = PairFiles(*names) if len(names) == 2 else None
        if isinstance(policy, policies.HRAD) and defaults.mode != "autoregressive":
            try:
                check_pair(policy._file, core, pair)
            except BaseException:
                core.close()
                raise
        self._start(core, defaults, seeds, names, pair, key, profile_path)
        self._chat_template = chat_template

    def _start(
        self,
        core: _core.Engine,
        defaults: Defaults,
        seeds: random.Random,
        names: list[str],
        pair: PairFiles | None,
        key: Callable[[], dict[str, Any]] | None,
        profile_path: str | None,
    ) -> None:
        self._core = core
        self._defaults = defaults
        self._seeds = seeds
        self._names = names
        self._pair = pair
        self._shared = Shared()
        self._key = key
        self._profile_path = profile_path
        self._chat_template: str | None = None
        self._pid = os.getpid()
        _live.add(self)

    @classmethod
    def _from_core(cls, core: _core.Engine) -> Engine:
        """An engine around fakes, for tests."""
        engine = cls.__new__(cls)
        mode = "specbranch" if core.can_speculate else "autoregressive"
        names = ["fake"] * (1 + core.can_speculate)
        key = dict if core.can_speculate else None
        engine._start(core, Defaults(mode), make_seeds(None), names, None, key, None)
        return engine

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repeat_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        grammar: str | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        logprobs: int | None = None,
        mode: str | None = None,
        policy: policies.BuiltIn | policies.Policy | None = None,
        k_max: int | None = None,
        max_draft: int | None = None,
        trace: bool = False,
        n_feature_layers: int = 0,
    ) -> Generation:
        """Checks the request, queues it, and returns at once.

        The same prompt, settings and seed give the same text in every mode and with every policy.

        Args:
            prompt: text, not empty: tokenized with the BOS token that the model asks for, and
                with names of control tokens (``<|im_start|>``) read as these tokens. Or token ids,
                taken as they are (for text from strangers, `tokenize` does not read names).
            max_tokens: tokens of the text at most; None: until the context is full; 0: none,
                the empty text.
            temperature: 0: the most probable token; 1: the model's distribution.
            top_k: keep the k most probable tokens; 0 or -1: all.
            top_p: keep the most probable tokens that together have this probability; 1: all.
            min_p: drop tokens less probable than this share of the best one's; 0: none.
            repeat_penalty: divide the scores of the last 64 tokens by this, those of the prompt
                included; 1: off.
            presence_penalty: subtract this from the score of each of these tokens; 0: off.
            frequency_penalty: subtract this as often as the token is there; 0: off.
            logit_bias: added to the raw scores of single tokens; ``-inf`` forbids one.
            grammar: GBNF with a rule ``root`` that the text must follow.
            stop: strings before the first of which the text is cut.
            seed: key of the choice at temperatures above 0, 0 to 2**64 - 1; None draws one, which
                the stats name.
            logprobs: report log-probabilities of each token and of this many alternatives; None:
                none.
            mode: None: the engine's; ``"specbranch"`` for a ``policy`` where that is ``"auto"``.
            policy: None: the engine's. ``"auto"``, which decides by itself, takes none.
            k_max: branches at most, not more than the engine's; None: the engine's.
            max_draft: tokens drafted ahead at most, as above.
            trace: record what each model did when (``Completion.trace``).
            n_feature_layers: with ``trace``, also record the inputs of so many of the target's
                last layers at every round, the deepest last, and behind them the embedding of the
                newest token (``Round.features``); 0: none. At most the engine's
                ``n_feature_layers``.

        Raises:
            InvalidArgument: an argument is of the wrong kind or out of its range.
            ContextOverflow: the prompt leaves no room in the context.
            EngineClosed: the engine was closed, or this process is a fork of the one that made it.
            DecodeError: an earlier error has left the models in an unknown state.
        """
        given = dict(locals())
        request = make_request(self._core, self._defaults, given, self._seeds, self._pair)
        generation = Generation(
            self,
            self._shared,
            self._core.generate(request),
            logprobs=logprobs is not None,
            trace=trace,
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
