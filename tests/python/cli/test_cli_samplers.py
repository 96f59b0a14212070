"""The options of the samplers on the command line."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp._support.sampler_letters import samplers_of
from specbranch_cpp.cli import app, generate, sampler_options
from specbranch_cpp.cli.chat import command as chat_command
from specbranch_cpp.cli.chat import slash_commands

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

PROMPT = "def add(a, b):\n"
# The options of each sampler, and the same keywords of the engine.
SAMPLERS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "penalties": (
        ["--repeat-penalty", "1.5", "--repeat-last-n", "8"],
        {"repeat_penalty": 1.5, "repeat_last_n": 8},
    ),
    "typical-p": (["--typical", "0.3"], {"typical_p": 0.3}),
    "top-n-sigma": (["--top-nsigma", "0.5"], {"top_n_sigma": 0.5}),
    "min-keep": (
        ["--typical-p", "0.1", "--min-keep", "30"],
        {"typical_p": 0.1, "min_keep": 30},
    ),
    "xtc": (
        ["--xtc-probability", "1", "--xtc-threshold", "0.05"],
        {"xtc_probability": 1.0, "xtc_threshold": 0.05},
    ),
    "dynamic temperature": (
        ["--dynatemp-range", "0.8", "--dynatemp-exp", "2"],
        {"dynatemp_range": 0.8, "dynatemp_exponent": 2.0},
    ),
    "dry": (
        ["--dry-multiplier", "3", "--dry-base", "1.2", "--dry-allowed-length", "1",
         "--dry-penalty-last-n", "-1", "--dry-sequence-breaker", "none"],
        {"dry_multiplier": 3.0, "dry_base": 1.2, "dry_allowed_length": 1,
         "dry_penalty_last_n": -1, "dry_sequence_breakers": []},
    ),
    "breakers": (
        ["--dry-multiplier", "3", "--dry-sequence-breaker", ":", "--dry-sequence-breaker", "("],
        {"dry_multiplier": 3.0, "dry_sequence_breakers": [":", "("]},
    ),
    "mirostat": (
        ["--mirostat", "2", "--mirostat-ent", "1.5", "--mirostat-lr", "0.5"],
        {"mirostat_mode": 2, "mirostat_tau": 1.5, "mirostat_eta": 0.5},
    ),
    "adaptive-p": (
        ["--adaptive-target", "0.2", "--adaptive-decay", "0.5"],
        {"adaptive_target": 0.2, "adaptive_decay": 0.5},
    ),
    "names": (
        ["--top-k", "2", "--samplers", "temperature; top-k"],
        {"top_k": 2, "samplers": ["temperature", "top_k"]},
    ),
    "letters": (
        ["--top-k", "2", "--sampler-seq", "tk"],
        {"top_k": 2, "samplers": ["temperature", "top_k"]},
    ),
}  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", SAMPLERS)
def test_generate_obeys_each_sampler(pair: tuple[Path, Path], engine: Engine, name: str) -> None:
    options, keywords = SAMPLERS[name]
    expected = engine.generate(PROMPT, max_tokens=16, temperature=1.0, seed=3, **keywords).result()
    result = run(
        "generate", "-m", pair[0], "-md", pair[1], "-c", 512, "-t", 1, "-td", 1, "-q",
        "--no-measure-costs", "-p", PROMPT, "-n", 16, "--temp", 1, "-s", 3, *options,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stdout == expected.text


def test_generate_and_chat_have_the_same_options() -> None:
    for function in (generate.generate, chat_command.chat):
        parameters = set(inspect.signature(function).parameters)
        used = set(inspect.signature(sampler_options.sampler_keywords).parameters) - {"settings"}
        renamed = {"dynatemp_exponent": "dynatemp_exp", "mirostat_mode": "mirostat"}
        used |= {renamed.get(each, each) for each in sampler_options.NAMES}
        assert used <= parameters


def test_the_defaults_by_name_and_by_letter_are_the_same() -> None:
    names, letters = (
        get_args(each)[1].help.rstrip(".").partition("Default: ")[2]
        for each in (sampler_options.Samplers, sampler_options.SamplerSeq)
    )
    assert samplers_of(letters) == names.split("; ")


def test_the_chat_can_set_every_number_of_a_sampler() -> None:
    assert set(sampler_options.NAMES) <= set(slash_commands._NUMBERS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--typical", "1.5"], "--typical is 1.5; it must be in [0, 1]; 1 is off"),
        (["--mirostat", "3"], "--mirostat is 3; it must be in 0 .. 2"),
        (["--repeat-last-n", "-2"], "--repeat-last-n is -2"),
        (["--samplers", "top_k;top_q"], "samplers has 'top_q'; it may have penalties, dry"),
    ],
)
def test_a_wrong_value_is_named_by_its_option(
    pair: tuple[Path, Path], options: list[str], message: str
) -> None:
    result = run("generate", "-m", pair[0], "-q", "-c", 256, "-t", 1, "-p", PROMPT, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_names_and_letters_are_given_one_at_a_time() -> None:
    def keywords(**given: Any) -> dict[str, Any]:
        nothing = {"samplers": None, "sampler_seq": None, "dry_sequence_breaker": None}
        return sampler_options.sampler_keywords(**nothing | given)

    assert keywords() == {}
    with pytest.raises(typer.BadParameter, match="give only one"):
        keywords(samplers="top_k", sampler_seq="k")
    with pytest.raises(typer.BadParameter, match="letter 'q'") as caught:
        keywords(sampler_seq="kq")
    assert not isinstance(caught.value, InvalidArgument)
