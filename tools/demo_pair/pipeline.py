"""The stages one after the other: train, export, evaluate."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer

from demo_pair import check, data, evaluation, export, tokenizer, training
from demo_pair.llama import Llama
from demo_pair.recipe import RECIPES, Recipe, toy

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

#: At which acceptance is measured.
TEMPERATURES = (0.0, 0.7, 0.8, 1.0)

#: Tokens of held-out text on which llama.cpp is compared with PyTorch.
CHECKED_TOKENS = 128


def run(options: argparse.Namespace) -> None:
    """Run the chosen stages."""
    if options.threads:
        torch.set_num_threads(options.threads)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    recipe = chosen_recipe(options)
    corpus = data.read_corpus(options.text or data.standard_library())
    vocabulary_file = work / "tokenizer.json"
    if options.stage in ("all", "train") and not options.resume:
        if options.keep_target:
            made = export.read_tokenizer(options.keep_target)
        else:
            made = tokenizer.train_tokenizer(corpus.train, recipe.target.vocab_size)
        made.save(str(vocabulary_file))
    if not vocabulary_file.exists():
        raise FileNotFoundError(f"no tokenizer at {vocabulary_file}: train first")
    bpe = Tokenizer.from_file(str(vocabulary_file))
    held_out = data.encode(bpe, corpus.held_out)

    if options.stage in ("all", "train"):
        stream = data.encode(bpe, corpus.train)
        say(
            f"training: {len(corpus.train)} files, {len(stream):,} tokens; "
            f"held out: {len(corpus.held_out)} files, {len(held_out):,} tokens"
        )
        trainer = training.Trainer(
            recipe,
            stream,
            held_out,
            work,
            device=torch.device(options.device),
            compile_step=not options.no_compile,
            report=say,
        )
        say(
            f"target: {trainer.target.parameter_count():,} parameters; "
            f"draft: {trainer.draft.parameter_count():,}"
        )
        if options.resume:
            trainer.resume()
        elif options.keep_target:
            begin = options.start_draft
            trainer.keep_target(
                export.read_gguf(options.keep_target), begin and export.read_gguf(begin)
            )
        trainer.run()
    if options.stage in ("all", "export"):
        export_pair(options, bpe, held_out)
    if options.stage in ("all", "evaluate"):
        evaluate_pair(options, bpe, held_out)


def say(line: str) -> None:
    print(line, flush=True)


def chosen_recipe(options: argparse.Namespace) -> Recipe:
    """The recipe, as changed by the options."""
    recipe = dataclasses.replace(
        RECIPES[options.architecture],
        seed=options.seed,
        cpu_minutes=options.cpu_minutes,
        wall_minutes=options.wall_minutes,
        matrix_rate=options.rate * Recipe.matrix_rate,
        other_rate=options.rate * Recipe.other_rate,
    )
    if options.toy:
        recipe = toy(options.architecture, recipe)
    for name in ("joint_steps", "distil_steps"):
        if getattr(options, name) is not None:
            recipe = dataclasses.replace(recipe, **{name: getattr(options, name)})
    if options.start_draft and not options.keep_target:
        raise ValueError("--start-draft needs --keep-target: another target changes what it learns")
    if options.keep_target:
        shape = export.read_gguf(options.keep_target).shape
        recipe = dataclasses.replace(recipe, target=shape, joint_steps=0)
    if options.start_draft:
        recipe = dataclasses.replace(recipe, draft=export.read_gguf(options.start_draft).shape)
    return recipe


def files(options: argparse.Namespace) -> tuple[Path, Path]:
    """Paths of the target's and the draft's file."""
    folder: Path = options.output or options.work
    folder.mkdir(parents=True, exist_ok=True)
    name = "demo" if options.architecture == Llama.architecture else options.architecture
    return folder / f"{name}-target.gguf", folder / f"{name}-draft.gguf"


def export_pair(options: argparse.Namespace, bpe: Tokenizer, held_out: data.Tokens) -> None:
    """Write both models from the latest checkpoint, finished or not, and check the files."""
    text = [int(token) for token in data.even_windows(held_out, 1, CHECKED_TOKENS - 1)[0]]
    target, draft, progress = training.load_pair(options.work)
    if progress.phase != training.DONE:
        say(f"note: the training is not finished ({progress.phase}, step {progress.step})")
    for model, path in zip((target, draft), files(options), strict=True):
        export.write_gguf(
            model,
            bpe,
            path,
            name=f"specbranch {path.stem}",
            context_length=options.context_length,
        )
        say(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
        if importlib.util.find_spec("llama_cpp") is None:
            say("note: llama-cpp-python is not installed: its scores are not compared")
        else:
            say(f"llama.cpp and PyTorch: {check.compare(path, text)}")


def evaluate_pair(options: argparse.Namespace, bpe: Tokenizer, held_out: data.Tokens) -> None:
    """Measure the exported files and write the figures to the work folder."""
    target, draft = (export.read_gguf(path) for path in files(options))
    figures: dict[str, Any] = {"loss": {}, "acceptance": {}}
    windows = (64, 128) if options.toy else (256, 512, 1024, 2048)
    for window in windows:
        losses = {
            role: evaluation.held_out_loss(model, held_out, window)
            for role, model in (("target", target), ("draft", draft))
        }
        figures["loss"][window] = losses
        say(f"window {window}: target {losses['target']:.3f}, draft {losses['draft']:.3f}")
    count, length, new = (4, 16, 16) if options.toy else (128, 96, 128)
    prompts = {"held out": evaluation.held_out_prompts(held_out, count, length)}
    for path in options.prompts:
        prompts[path.stem] = evaluation.file_prompts(path, bpe)
    for name, rows in prompts.items():
        figures["acceptance"][name] = []
        for temperature in TEMPERATURES:
            got = evaluation.acceptance(target, draft, rows, temperature=temperature, count=new)
            figures["acceptance"][name].append(dataclasses.asdict(got))
            say(
                f"{name}, temperature {temperature}: top-1 {got.top1:.3f}, top-3 {got.top3:.3f} "
                f"({got.positions:,} positions)"
            )
    checkpoint = options.work / "checkpoint.pt"
    if checkpoint.exists():
        figures["training"] = dataclasses.asdict(training.load_pair(options.work)[2])
    (options.work / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
