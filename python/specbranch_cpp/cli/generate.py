"""``specbranch generate``: generates one text and streams it."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from specbranch_cpp import policies, timeline
from specbranch_cpp._support.program import INTERRUPTED
from specbranch_cpp.cli import machine_options, options, render, sampler_options
from specbranch_cpp.cli.lists import refuse
from specbranch_cpp.cli.prefill import PrefillBar
from specbranch_cpp.engine import Engine

if TYPE_CHECKING:
    from specbranch_cpp._engine.text_engine import GenerateKeywords
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.results import Completion

EPILOG = (
    "Exit codes: 0: success; 1: a model cannot be used; 2: bad usage; 130: stopped by Ctrl-C after "
    "printing the text so far."
)


@render.reporting(options.NAMES | sampler_options.NAMES | {"the path": "--trace"})
def generate(
    model: options.Model = None,
    draft: options.Draft = None,
    lora: options.Lora = None,
    lora_scaled: options.LoraScaled = None,
    hf_repo: options.HfRepo = None,
    hf_file: options.HfFile = None,
    hf_repo_draft: options.HfRepoDraft = None,
    hf_file_draft: options.HfFileDraft = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help="The prompt.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", show_default=False,
            help="Read the prompt from a file, without its last newline; - reads standard input, "
            "which is also the default.",
        ),
    ] = None,
    n_predict: Annotated[
        int,
        typer.Option(
            "--n-predict", "-n", metavar="N",
            help="Largest number of tokens; -1: generate until the context is full.",
        ),
    ] = 128,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop", metavar="TEXT", help="Stop before this text; repeatable.", show_default=False
        ),
    ] = None,
    temperature: options.Temperature = 0.0,
    top_k: Annotated[int, options.top_k("0: all")] = 0,
    top_p: Annotated[float, options.top_p("1: all")] = 1.0,
    min_p: Annotated[float, options.min_p("0: off")] = 0.0,
    repeat_penalty: options.RepeatPenalty = 1.0,
    presence_penalty: Annotated[
        float,
        options.sampling(
            "--presence-penalty",
            help="Subtract this value from the logit of every token that occurred; default 0 "
            "(off).",
        ),
    ] = 0.0,
    frequency_penalty: Annotated[
        float,
        options.sampling(
            "--frequency-penalty",
            help="Subtract this value from the logit of a token once for each occurrence; default "
            "0 (off).",
        ),
    ] = 0.0,
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
    grammar: Annotated[
        str | None,
        options.sampling(
            "--grammar", metavar="GBNF", help="GBNF grammar that the text must follow."
        ),
    ] = None,
    grammar_file: Annotated[
        Path | None,
        options.sampling(
            "--grammar-file", metavar="FILE",
            help="File with a GBNF grammar that the text must follow.",
        ),
    ] = None,
    seed: options.Seed = None,
    mode: options.Mode = None,
    draft_max: options.DraftMax = None,
    draft_p_min: Annotated[
        float | None,
        options.speculation(
            "--draft-p-min", metavar="P",
            help="The draft stops or branches at confidences below this value; default 0.4.",
        ),
    ] = None,
    max_branches: options.MaxBranches = None,
    prediction_file: Annotated[
        Path | None,
        options.speculation(
            "--prediction-file", metavar="FILE",
            help="Text file that the answer probably resembles, such as the file that it edits.",
        ),
    ] = None,
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
    echo: Annotated[
        bool | None,
        typer.Option(
            "--echo/--no-echo", show_default=False,
            help="Print the prompt before the text; default: only on a terminal.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace", metavar="FILE", show_default=False,
            help="Write a timeline of both models: .json for Perfetto or chrome://tracing, .png "
            "for a picture (needs matplotlib).",
        ),
    ] = None,
    json_output: options.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no statistics.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print llama.cpp's log on standard error.")
    ] = False,
) -> None:  # fmt: skip
    """Stream a text to standard output, then print its statistics on standard error."""
    if trace is not None:
        _check_trace_file(trace)
    if json_output:
        refuse({"--echo": echo}, "the object of --json has no prompt")
    if mode in ("auto", "pearl"):
        why = f"mode {mode} has no such limit; use speculative or specbranch"
        refuse({"--draft-p-min": draft_p_min}, why)
    if mode == "autoregressive":
        why = "mode autoregressive drafts nothing; leave it out, or use another mode"
        refuse({"--draft-p-min": draft_p_min, "--prediction-file": prediction_file}, why)
    if not lookup:
        refuse({"--prediction-file": prediction_file}, "it has no effect with --no-lookup")
    prompt = _read_prompt(prompt, file)
    if not prompt:
        raise typer.BadParameter("the prompt is empty")
    of_hub = options.HubFiles(hf_repo, hf_file, hf_repo_draft, hf_file_draft)
    target_path, draft_path = options.pick_models(model, draft, of_hub)
    if draft_path is None:
        refuse({"--draft-p-min": draft_p_min}, machine_options.WITHOUT_DRAFT)
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
    request: GenerateKeywords = {
        "max_tokens": options.max_tokens(n_predict),
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "grammar": _read_grammar(grammar, grammar_file),
        "stop": stop or None,
        "seed": None if seed == -1 else seed,
        "mode": mode,
        "policy": None if draft_p_min is None else policies.Confidence(draft_p_min),
        "prediction": _read_prediction(prediction_file),
        "trace": trace is not None,
        **sampler_keywords,  # type: ignore[typeddict-item]
    }
    with render.loading(target_path.name, quiet=quiet) as progress:
        engine = Engine(
            target_path, draft_path, verbose=verbose, progress_callback=progress, **keywords
        )
    with engine, engine.generate(prompt, **request) as generation:
        if json_output:
            completion, interrupted = _finish(generation)
            print(json.dumps(_as_json(completion)))
        else:
            echoed = prompt if (sys.stdout.isatty() if echo is None else echo) else ""
            completion, interrupted = _stream(generation, echoed, quiet=quiet)
        if not quiet and not json_output:
            _show_stats(completion)
    if trace is not None:
        _save_trace(completion, trace)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _read_prompt(prompt: str | None, file: Path | None) -> str:
    if prompt is not None:
        if file is not None:
            raise typer.BadParameter(
                "a prompt and a file were given; give only one of them", param_hint="-f"
            )
        return prompt
    if file is None and sys.stdin is not None and sys.stdin.isatty():
        raise typer.BadParameter(
            "there is no prompt; give a prompt with -p, with -f, or on standard input"
        )
    if file is None or str(file) == "-":
        return options.read_stdin().removesuffix("\n")
    return options.read_text(file, "-f").removesuffix("\n")


def _read_grammar(grammar: str | None, file: Path | None) -> str | None:
    if file is None:
        return grammar
    if grammar is not None:
        raise typer.BadParameter(
            "a grammar and a grammar file were given; give only one of them",
            param_hint="--grammar-file",
        )
    return options.read_text(file, "--grammar-file")


def _read_prediction(file: Path | None) -> str | None:
    return None if file is None else options.read_text(file, "--prediction-file")


def _stream(generation: Generation, echoed: str, *, quiet: bool) -> tuple[Completion, bool]:
    """Shows the echoed prompt and then the text. The echo waits until the progress bar has gone."""
    interrupted = False
    last = ""
    bar = None if quiet else PrefillBar(generation)
    try:
        first = next(generation)  # at least one chunk comes: the last
        if bar is not None:
            bar.stop()
        if sys.stdout.isatty():
            render.stdout().print(echoed, style="dim", end="", soft_wrap=True)
        else:
            render.write_answer(echoed)
        for chunk in itertools.chain([first], generation):
            last = chunk.text or last
            render.write_answer(chunk.text)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if bar is not None:
            bar.stop()
        if sys.stdout.isatty() and not last.endswith("\n"):
            print()
    return _finish(generation, interrupted)


def _finish(generation: Generation, interrupted: bool = False) -> tuple[Completion, bool]:
    """The whole text, or after Ctrl-C the text so far."""
    try:
        if not interrupted:
            return generation.result(), False
    except KeyboardInterrupt:
        pass
    generation.cancel()
    return generation.result(), True


def _check_trace_file(file: Path) -> None:
    if not file.parent.is_dir():
        raise typer.BadParameter(
            f"{file.parent} does not exist; it must be a folder", param_hint="--trace"
        )
    timeline.check_path(file)


def _save_trace(completion: Completion, file: Path) -> None:
    assert completion.trace is not None
    try:
        completion.trace.save(file)
    except OSError as error:
        render.fail(f"{file}: {error.strerror}")
        raise typer.Exit(1) from None


def _as_json(completion: Completion) -> dict[str, Any]:
    return {
        "text": completion.text,
        "tokens": list(completion.tokens),
        "finish_reason": completion.finish_reason,
        "stats": completion.stats.as_dict(),
    }


def _show_stats(completion: Completion) -> None:
    stats = completion.stats
    console = render.stderr()
    console.print()
    console.print(render.stats_table(stats))
    notes = [
        f"prompt {stats.n_prompt} tokens in {stats.prefill_ms:.0f} ms",
        f"end: {completion.finish_reason}",
        f"seed {stats.seed}",
        f"target idle {stats.target_idle_ms:.0f} ms",
    ]
    if stats.n_draft_steps:
        notes.append(f"draft idle {stats.draft_idle_ms:.0f} ms")
    console.print(" · ".join(notes), style="dim")
    if stats.mode_reason:
        console.print(stats.mode_reason, style="dim")
