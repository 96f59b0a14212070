"""``specbranch chat``: a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from specbranch_cpp._support import checked
from specbranch_cpp.cli import machine_options, options, render, sampler_options
from specbranch_cpp.cli.chat import slash_commands
from specbranch_cpp.cli.chat.session import Chat
from specbranch_cpp.cli.chat.turns import Quoted, open_turns
from specbranch_cpp.cli.prefill import PrefillBar
from specbranch_cpp.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from specbranch_cpp.cli.chat.turns import Turns
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.results import GenerationStats

EPILOG = (
    "In the chat, /help lists the commands. Each line of a pipe is a turn.\n\n"
    "Exit codes: 0: success, also after Ctrl-D; 1: a model cannot be used, or a line of a pipe was "
    "refused; 2: bad usage; 130: stopped by Ctrl-C while loading or, without a terminal, while "
    "waiting for a line."
)


@render.reporting(options.NAMES | sampler_options.NAMES)
def chat(
    model: options.Model = None,
    draft: options.Draft = None,
    lora: options.Lora = None,
    lora_scaled: options.LoraScaled = None,
    hf_repo: options.HfRepo = None,
    hf_file: options.HfFile = None,
    hf_repo_draft: options.HfRepoDraft = None,
    hf_file_draft: options.HfFileDraft = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system", "-sys", metavar="TEXT", show_default=False,
            help="System prompt.",
        ),
    ] = None,
    n_predict: Annotated[
        int,
        typer.Option(
            "--n-predict", "-n", metavar="N",
            help="Largest number of tokens in an answer; -1: generate until the context is full.",
        ),
    ] = -1,
    temperature: Annotated[
        float, options.sampling("--temp", metavar="T", help="Temperature; default 0.8.")
    ] = 0.8,
    top_k: Annotated[int, options.top_k("40")] = 40,
    top_p: Annotated[float, options.top_p("0.95")] = 0.95,
    min_p: Annotated[float, options.min_p("0.05")] = 0.05,
    repeat_penalty: options.RepeatPenalty = 1.0,
    repeat_last_n: sampler_options.RepeatLastN = None,
    typical_p: sampler_options.TypicalP = None,
    top_n_sigma: sampler_options.TopNSigma = None,
    min_keep: sampler_options.MinKeep = None,
    xtc_probability: sampler_options.XtcProbability = None,
    xtc_threshold: sampler_options.XtcThreshold = None,
    dynatemp_range: sampler_options.DynatempRange = None,
    dynatemp_exp: sampler_options.DynatempExp = None,
    dry_multiplier: sampler_options.DryMultiplier = None,
    dry_base: sampler_options.DryBase = None,
    dry_allowed_length: sampler_options.DryAllowedLength = None,
    dry_penalty_last_n: sampler_options.DryPenaltyLastN = None,
    dry_sequence_breaker: sampler_options.DrySequenceBreaker = None,
    mirostat: sampler_options.Mirostat = None,
    mirostat_tau: sampler_options.MirostatTau = None,
    mirostat_eta: sampler_options.MirostatEta = None,
    adaptive_target: sampler_options.AdaptiveTarget = None,
    adaptive_decay: sampler_options.AdaptiveDecay = None,
    samplers: sampler_options.Samplers = None,
    sampler_seq: sampler_options.SamplerSeq = None,
    seed: options.Seed = None,
    mode: options.Mode = None,
    draft_max: options.DraftMax = None,
    max_branches: options.MaxBranches = None,
    lookup: options.Lookup = True,
    corpus: options.Corpus = None,
    measure_costs: options.MeasureCosts = True,
    profile: options.Profile = None,
    trust: options.Trust = False,
    ctx_size: machine_options.CtxSize = None,
    threads: machine_options.Threads = None,
    draft_threads: machine_options.DraftThreads = None,
    cpus: machine_options.Cpus = None,
    draft_cpus: machine_options.DraftCpus = None,
    n_gpu_layers: machine_options.GpuLayers = None,
    draft_n_gpu_layers: machine_options.DraftGpuLayers = None,
    device: machine_options.Device = None,
    draft_device: machine_options.DraftDevice = None,
    rpc: machine_options.Rpc = None,
) -> None:  # fmt: skip
    """Chat with a model.

    The answers are streamed, and /stats shows their statistics. To write several lines in one turn,
    use Alt+Enter (Esc Enter), a backslash at the end of a line, or three quotation marks around the
    lines. Ctrl-C stops an answer, Ctrl-D ends the chat.
    """
    if system is not None:
        checked.text("--system", system)
    of_hub = options.HubFiles(hf_repo, hf_file, hf_repo_draft, hf_file_draft)
    target_path, draft_path = options.pick_models(model, draft, of_hub)
    machine = machine_options.machine_keywords(
        has_draft=draft_path is not None,
        ctx_size=ctx_size,
        threads=threads,
        draft_threads=draft_threads,
        cpus=cpus,
        draft_cpus=draft_cpus,
        n_gpu_layers=n_gpu_layers,
        draft_n_gpu_layers=draft_n_gpu_layers,
        device=device,
        draft_device=draft_device,
        max_branches=max_branches,
        rpc=rpc,
        lora=options.lora_files(lora, lora_scaled),
    )
    keywords = options.engine_keywords(
        machine,
        draft_max=draft_max,
        max_branches=max_branches,
        measure_costs=measure_costs,
        profile=profile,
        lookup=lookup,
        corpus=corpus,
        trust=trust,
    )
    sampler_keywords = sampler_options.sampler_keywords(
        repeat_last_n=repeat_last_n,
        typical_p=typical_p,
        top_n_sigma=top_n_sigma,
        min_keep=min_keep,
        xtc_probability=xtc_probability,
        xtc_threshold=xtc_threshold,
        dynatemp_range=dynatemp_range,
        dynatemp_exponent=dynatemp_exp,
        dry_multiplier=dry_multiplier,
        dry_base=dry_base,
        dry_allowed_length=dry_allowed_length,
        dry_penalty_last_n=dry_penalty_last_n,
        dry_sequence_breaker=dry_sequence_breaker,
        mirostat_mode=mirostat,
        mirostat_tau=mirostat_tau,
        mirostat_eta=mirostat_eta,
        adaptive_target=adaptive_target,
        adaptive_decay=adaptive_decay,
        samplers=samplers,
        sampler_seq=sampler_seq,
    )
    if n_predict == 0:
        raise typer.BadParameter(
            "an answer of 0 tokens is none; give at least 1, or -1 for no limit",
            param_hint="--n-predict",
        )
    request: dict[str, Any] = {
        "max_tokens": options.max_tokens(n_predict),
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "seed": None if seed == -1 else seed,
        "mode": mode,
        **sampler_keywords,
    }
    with render.loading(target_path.name) as progress:
        engine = Engine(target_path, draft_path, progress_callback=progress, **keywords)
    with engine:
        # Check the options now. Otherwise every turn would refuse them.
        engine.generate("x", **{**request, "max_tokens": 0, "top_k": max(0, top_k)}).result()
        screen = ConsoleScreen()
        talk = Chat(engine, screen, request, system)
        screen.note(_greeting(engine, target_path, draft_path))
        turns = open_turns(slash_commands.NAMES)
        converse(talk, turns)
    if screen.n_errors and not turns.edited:  # a script cannot see them
        raise typer.Exit(1)


def converse(talk: Chat, turns: Turns) -> None:
    """Runs until the user ends the chat."""
    while True:
        try:
            text = turns.next()
        except EOFError:
            return
        except KeyboardInterrupt:
            if not turns.edited:
                raise
            talk.screen.note("press Ctrl-D or type /exit to end the chat")
            continue
        if text.startswith("/") and not isinstance(text, Quoted):
            if not slash_commands.run(talk, text):
                return
        elif text:
            talk.say(str(text))


def _greeting(engine: Engine, target: Path, draft: Path | None) -> str:
    words = (
        f"{options.model_names(target, draft)}, mode {engine.mode}, {engine.n_ctx} tokens of "
        "context; /help for help"
    )
    if engine.chat_template is None:
        words += (
            "\nthe model has no chat template, so it was probably not trained to chat; ChatML is "
            "used"
        )
    return words


class ConsoleScreen:
    """Answers on standard output, everything else on standard error."""

    def __init__(self) -> None:
        self.n_errors = 0
        self._notes = render.stderr()
        self._bar: PrefillBar | None = None
        self._thinks = False

    def thought(self, text: str) -> None:
        self._thinks = True
        self._notes.print(text, style="dim italic", soft_wrap=True, markup=False, end="")

    def answer(self, text: str) -> None:
        if self._thinks:
            self._thinks = False
            self._notes.print("\n")
        render.write_answer(text)

    def end(self, text: str) -> None:
        if not text.endswith("\n"):
            self.answer("\n")

    def note(self, text: str) -> None:
        self._notes.print(text, style="dim", soft_wrap=True)

    def error(self, text: str) -> None:
        self.n_errors += 1
        self._notes.print(text, style="red", soft_wrap=True)

    def table(self, stats: GenerationStats) -> None:
        self._notes.print(render.stats_table(stats))

    def waiting(self, generation: Generation) -> None:
        self._bar = PrefillBar(generation, self._notes)

    def waiting_ended(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
