"""Writes prompts cut from the running Python's standard library: one JSON object a line."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from demo_pair.data import read_corpus, standard_library


def cut_prompts(texts: dict[str, str], count: int, length: int, seed: int) -> list[dict[str, str]]:
    """Pieces of about ``length`` characters that begin with a line, at places drawn from ``seed``.

    Every file has a chance in proportion to its size; no piece begins at the same line as another.
    """
    draw = random.Random(seed)
    names = sorted(texts)
    sizes = [len(texts[name]) for name in names]
    prompts: dict[str, str] = {}
    for _ in range(50 * count):
        if len(prompts) == count:
            break
        (name,) = draw.choices(names, sizes)
        text = texts[name]
        begin = text.rfind("\n", 0, draw.randrange(len(text))) + 1
        prompt = text[begin : begin + length]
        if prompt.strip() and len(prompt) == length:
            prompts.setdefault(f"{name}:{text.count(chr(10), 0, begin) + 1}", prompt)
    return [{"id": where, "prompt": prompt} for where, prompt in prompts.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--length", type=int, default=400, help="characters of a prompt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--text", type=Path, default=standard_library(), help="folder of the text")
    parser.add_argument(
        "--held-out", action="store_true", help="from the files the bundled pair has not seen"
    )
    options = parser.parse_args()
    corpus = read_corpus(options.text)
    names, texts = corpus.names, corpus.train
    if options.held_out:
        names, texts = corpus.held_out_names, corpus.held_out
    prompts = cut_prompts(
        dict(zip(names, texts, strict=True)), options.count, options.length, options.seed
    )
    with options.output.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(prompt) + "\n" for prompt in prompts)
    print(f"{len(prompts)} prompts in {options.output}")


if __name__ == "__main__":
    main()
