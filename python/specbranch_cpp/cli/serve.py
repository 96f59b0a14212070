"""``specbranch serve``: a server with OpenAI's HTTP interface."""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from specbranch_cpp._support import logs
from specbranch_cpp._support.program import INTERRUPTED
from specbranch_cpp.cli import machine_options, options, render
from specbranch_cpp.cli.lists import refuse
from specbranch_cpp.engine import Engine
from specbranch_cpp.errors import InvalidArgument, printable

KEY_VARIABLE = "SPECBRANCH_API_KEY"

server = partial(options.option, panel="Server")


@render.reporting(options.NAMES)
def serve(
    model: options.Model = None,
    draft: options.Draft = None,
    lora: options.Lora = None,
    lora_scaled: options.LoraScaled = None,
    lora_init_without_apply: Annotated[
        bool,
        options.models(
            "--lora-init-without-apply", metavar=None,
            help="Load the adapters with a scale of 0; requests or /lora-adapters scale them.",
        ),
    ] = False,
    hf_repo: options.HfRepo = None,
    hf_file: options.HfFile = None,
    hf_repo_draft: options.HfRepoDraft = None,
    hf_file_draft: options.HfFileDraft = None,
    host: Annotated[
        str, server("--host", metavar="ADDRESS", help="Address to listen on; default 127.0.0.1.")
    ] = "127.0.0.1",
    port: Annotated[
        int, server("--port", metavar="N", help="Port; default 8080; 0: any free port.")
    ] = 8080,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            "--api-key", metavar="KEY", envvar=KEY_VARIABLE, show_envvar=True, show_default=False,
            rich_help_panel="Server",
            help="Key that requests must have; repeatable. In the variable, blanks separate keys. "
            "Default: no key.",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, server("--api-key-file", metavar="FILE", help="File with one key per line.")
    ] = None,
    insecure: Annotated[
        bool,
        server("--insecure", help="Allow an address that other machines can reach, without a key."),
    ] = False,
    alias: Annotated[
        str | None,
        server(
            "--alias", "-a", metavar="NAME",
            help="Name of the model in replies; default: general.name of the file.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        server(
            "--timeout", "-to", metavar="S",
            help="Largest time for a generation, in seconds; default 600.",
        ),
    ] = 600.0,
    parallel: Annotated[
        int,
        server(
            "--parallel", "-np", metavar="N",
            help="Largest number of generations at once; default 1.",
        ),
    ] = 1,
    ctx_total: Annotated[
        int | None,
        server(
            "--ctx-total", metavar="N",
            help="Tokens of all generations at once; default: -c for each of them.",
        ),
    ] = None,
    cache_ram: Annotated[
        int | None,
        server(
            "--cache-ram", "-cram", metavar="N",
            help="MiB of main memory, for each model, that keep texts for prompts that begin like "
            "them. Default: as much as the KV cache takes, 256 to 8192; 0: none; -1: no limit.",
        ),
    ] = None,
    queue_size: Annotated[
        int,
        server(
            "--queue-size", metavar="N", help="Largest number of waiting requests; default 32."
        ),
    ] = 32,
    max_body: Annotated[
        int,
        server(
            "--max-body", metavar="N",
            help="Largest size of a request body, in bytes; default 4 MiB.",
        ),
    ] = 4 * 1024 * 1024,
    allowed_host: Annotated[
        list[str] | None,
        server(
            "--allowed-host", metavar="NAME",
            help="Accept this host name too, such as model.lan; *: every name; repeatable.",
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        server(
            "--cors-origin", metavar="ORIGIN",
            help="Allow pages of this origin to call the server, such as https://example.org; "
            "*: every origin; repeatable.",
        ),
    ] = None,
    grace: Annotated[
        float,
        server(
            "--grace", metavar="S",
            help="Seconds for the running request after a stop; default 10.",
        ),
    ] = 10.0,
    page: Annotated[
        bool, server("--page/--no-page", help="Serve the page at /; default: yes.")
    ] = True,
    metrics: Annotated[
        bool, server("--metrics/--no-metrics", help="Serve /metrics; default: yes.")
    ] = True,
    slots: Annotated[
        bool, server("--slots/--no-slots", help="Serve /slots; default: yes.")
    ] = True,
    chat_template_file: Annotated[
        Path | None,
        options.models(
            "--chat-template-file", metavar="FILE",
            help="File with a Jinja template that replaces the model's template.",
        ),
    ] = None,
    embedding_model: Annotated[
        Path | None,
        options.models(
            "--embedding-model",
            help="GGUF file of a model for /v1/embeddings; default: none.",
        ),
    ] = None,
    embedding_pooling: Annotated[
        str | None,
        options.models(
            "--embedding-pooling", metavar="NAME", completion=None,
            help="How its vectors of tokens become one: mean, cls or last; default: what the file "
            "says.",
        ),
    ] = None,
    embedding_ctx_size: Annotated[
        int | None,
        options.models(
            "--embedding-ctx-size", metavar="N", completion=None,
            help="Largest number of tokens of a text for it; default: what it was trained with, at "
            "most 2048.",
        ),
    ] = None,
    embedding_gpu_layers: Annotated[
        int | None,
        options.models(
            "--embedding-gpu-layers", metavar="N", completion=None,
            help="Its number of layers on GPUs; -1: all; default 0.",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        options.speculation(
            "--mode", metavar="MODE",
            help="Mode of requests without a mode: autoregressive, speculative, pearl, specbranch "
            "or auto (default).",
        ),
    ] = None,
    draft_max: options.DraftMax = None,
    max_branches: options.MaxBranches = None,
    lookup: options.Lookup = True,
    corpus: options.Corpus = None,
    lookup_answers: Annotated[
        bool | None,
        options.speculation(
            "--lookup-answers/--no-lookup-answers", metavar=None,
            help="Let earlier answers propose tokens, to requests of all keys; default: yes, but "
            "no with several API keys, because times would tell.",
        ),
    ] = None,
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
    isolate: Annotated[
        bool,
        machine_options.machine(
            "--isolate", metavar=None,
            help="Run the engine in a process of its own, which is started again if it ends.",
        ),
    ] = False,
    isolate_timeout: Annotated[
        float | None,
        machine_options.machine(
            "--isolate-timeout", metavar="SECONDS",
            help="With --isolate: start it again if it has work, and does nothing for so long.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the logs of llama.cpp and of the server.")
    ] = False,
) -> None:  # fmt: skip
    """Serve completions and chats over HTTP, with OpenAI's interface.

    By default one generation runs at a time; other requests wait in order. Ctrl-C stops the server
    after the running requests; a second Ctrl-C stops it at once.
    """
    # Check this before loading the models, which can take long.
    from specbranch_cpp.server import EmbeddingModel, ServerSettings, run
    from specbranch_cpp.server.run import bind
    from specbranch_cpp.server.settings import is_loopback

    if not lookup:
        refuse({"--lookup-answers": lookup_answers}, "it has no effect with --no-lookup")
    if not (lora or lora_scaled):
        why = "it has no effect without --lora or --lora-scaled"
        refuse({"--lora-init-without-apply": lora_init_without_apply}, why)
    settings = ServerSettings(
        host=host,
        port=port,
        api_keys=_keys(api_key, api_key_file),
        share_answers=lookup_answers is True,
        alias=alias,
        allowed_hosts=tuple(allowed_host) if allowed_host else None,
        cors_origins=tuple(cors_origin or ()),
        max_body_bytes=max_body,
        request_timeout_s=timeout,
        queue_size=queue_size,
        grace_s=grace,
        page=page,
        metrics=metrics,
        slots=slots,
    )
    if not (is_loopback(host) or settings.api_keys or insecure):
        raise typer.BadParameter(
            f"other machines can reach {host!r}; give a key with --api-key, or --insecure if all "
            "of them may use the model",
            param_hint="--host",
        )
    of_hub = options.HubFiles(hf_repo, hf_file, hf_repo_draft, hf_file_draft)
    target_path, draft_path = options.pick_models(model, draft, of_hub)
    machine = machine_options.machine_keywords(
        has_draft=draft_path is not None,
        ctx_size=ctx_size,
        ctx_total=ctx_total,
        cache_ram=cache_ram,
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
        lora=options.lora_files(lora, lora_scaled, applied=not lora_init_without_apply),
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
    template = None if chat_template_file is None else _template(chat_template_file)
    _show_log(logging.INFO if verbose else logging.WARNING)
    embeddings: EmbeddingModel | None = None
    if embedding_model is None:
        _refuse_without_model(embedding_pooling, embedding_ctx_size, embedding_gpu_layers)

    def ready(url: str) -> None:
        console = render.stderr()
        names = options.model_names(target_path, draft_path)
        console.print(f"specbranch: serving {names} at {url}/v1", soft_wrap=True)
        if embeddings is not None:
            console.print(f"embeddings: {embeddings.id}", soft_wrap=True)
        if settings.page:
            console.print(f"live view: open {url} in a browser", soft_wrap=True)
        keys = "an API key is needed" if settings.api_keys else "no API key is needed"
        reach = (
            "reachable from this machine only"
            if is_loopback(host)
            else "reachable from every machine in the network"
        )
        console.print(f"{reach}; {keys}; Ctrl-C stops the server", style="dim", soft_wrap=True)

    with contextlib.ExitStack() as stack:
        # A port that is taken is told before the models load.
        listeners = [stack.enter_context(each) for each in bind(settings)]
        if embedding_model is not None:
            embeddings = EmbeddingModel(
                embedding_model,
                pooling=embedding_pooling,
                n_ctx=embedding_ctx_size,
                n_threads=threads,
                n_gpu_layers=embedding_gpu_layers or 0,
            )
        with render.loading(target_path.name) as progress:
            engine = Engine(
                target_path,
                draft_path,
                mode=mode,
                n_parallel=parallel,
                lookup_answers=lookup
                and (settings.one_user if lookup_answers is None else lookup_answers),
                chat_template=template,
                isolate=isolate,
                isolate_timeout=isolate_timeout,
                verbose=verbose,
                progress_callback=progress,
                **keywords,
            )
        orderly = run(
            engine, settings, embedding_model=embeddings, ready=ready, listeners=listeners
        )
    if not orderly:
        raise typer.Exit(INTERRUPTED)


def _template(file: Path) -> str:
    """The chat template in a file. A wrong one would make every chat fail later."""
    from specbranch_cpp.openai_api.templates import ChatTemplate

    option = "--chat-template-file"
    text = options.read_text(file, option)
    if not text.strip():
        raise typer.BadParameter(f"{printable(str(file))} is empty", param_hint=option)
    try:
        ChatTemplate(text)
    except InvalidArgument as error:
        raise typer.BadParameter(f"{printable(str(file))}: {error}", param_hint=option) from None
    return text


def _refuse_without_model(pooling: str | None, ctx_size: int | None, layers: int | None) -> None:
    given = {
        "--embedding-pooling": pooling,
        "--embedding-ctx-size": ctx_size,
        "--embedding-gpu-layers": layers,
    }
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(
                f"{value} has no effect without --embedding-model", param_hint=name
            )


def _show_log(level: int) -> None:
    """Prints the server's own log on standard error. The engine handles llama.cpp's log."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(logs.Printable())
    for name in ("specbranch_cpp.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(handler)
        logger.propagate = False


def _keys(given: list[str] | None, file: Path | None) -> tuple[str, ...]:
    keys = list(given or ())
    if file is not None:
        keys += filter(None, map(str.strip, options.read_text(file, "--api-key-file").splitlines()))
        if not keys:
            raise typer.BadParameter(f"{file} contains no key", param_hint="--api-key-file")
    return tuple(keys)
