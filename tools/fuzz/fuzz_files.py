"""The fuzzer of model files: what passes our rules and the trial must load and generate.

A case is one of these: refused by the rules; refused by the trial, because llama.cpp dies, hangs or
reports an error; accepted, and then every call gives a text or a documented exception. Else it is a
failure.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fuzz import file_stages
from fuzz.file_cases import FileCase, FileCases
from fuzz.file_stages import BEGUN, REFUSED, SURPRISE, WORKED
from fuzz.findings import Failure, Findings
from fuzz.forked import run_forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fuzz.forked import End, Say
    from fuzz.gguf_bytes import Gguf

__all__ = ["FileFuzzer", "check_bases", "write_cases"]

LIMIT_S = 20.0
"""As `file_trial.time_limit_s` has for small files."""
MEMORY_BYTES = 12 << 30


class FileFuzzer:
    """Runs the cases of a seed.

    Args:
        bases: correct files, by their labels.
        seed: the seed of the cases.
        findings: gets the counts and the failures.
        limit_s: seconds that a process may take.
        model: the files are LoRA adapters of this model. ``None`` (default): they are models.
    """

    def __init__(
        self,
        bases: Mapping[str, Gguf],
        seed: int,
        findings: Findings,
        limit_s: float = LIMIT_S,
        model: Path | None = None,
    ) -> None:
        file_stages.prepare()
        self._cases = FileCases(bases, seed)
        self._seed = seed
        self._findings = findings
        self._limit_s = limit_s
        self._model = model

    def run(self, indices: Iterable[int], until: float = float("inf")) -> None:
        """`until`: the time of `time.monotonic` after which no further case begins."""
        with tempfile.TemporaryDirectory(prefix="specbranch-fuzz-") as folder:
            path = Path(folder, "case.gguf")
            for index in indices:
                if time.monotonic() > until:
                    break
                self.judge(self._cases.case(index), path)

    def judge(self, case: FileCase, path: Path) -> None:
        """Writes the file of a case, tries the file, and removes the file."""
        path.write_bytes(case.data)
        findings = self._findings
        findings.n_cases += 1
        begin = time.monotonic()
        tried = self._forked(
            partial(file_stages.check_and_try, path, model=self._model), self._limit_s
        )
        outcome = _outcome_of_trial(tried)
        if outcome is None:
            self._fail(case, tried)
        elif not outcome.startswith(("trial: died", "trial: hung")):
            used = self._forked(
                partial(file_stages.generate, path, case.index, model=self._model), self._limit_s
            )
            ending = _outcome_of_calls(used)
            if ending is None or (outcome == "rules: refused" and ending != "refused at load"):
                outcome = None
                self._fail(case, used)
            elif outcome == "accepted":
                outcome = f"accepted: {ending}"
        findings.counts[outcome or "FAILURE"] += 1
        findings.note({
            "index": case.index, "outcome": outcome, "case": case.description,
            "seconds": round(time.monotonic() - begin, 3), "words": _last_words(tried),
        })  # fmt: skip
        path.unlink()

    def _forked(self, function: Callable[[Say], None], limit_s: float) -> End:
        end = run_forked(function, limit_s, MEMORY_BYTES)
        self._findings.peak_bytes = max(self._findings.peak_bytes, end.peak_bytes)
        return end

    def _fail(self, case: FileCase, end: End) -> None:
        self._findings.fail(
            Failure(self._seed, case.index, _what(end), case.description, _last_words(end)),
            case.data,
        )


def check_bases(
    bases: Mapping[str, Gguf], limit_s: float = LIMIT_S, model: Path | None = None
) -> list[str]:
    """The labels of files that do not load and generate without changes."""
    file_stages.prepare()
    bad = []
    with tempfile.TemporaryDirectory(prefix="specbranch-fuzz-") as folder:
        for label, file in bases.items():
            path = Path(folder, "base.gguf")
            path.write_bytes(file.packed())
            tried = run_forked(partial(file_stages.check_and_try, path, model=model), limit_s)
            used = run_forked(partial(file_stages.generate, path, 0, model=model), limit_s)
            if (_outcome_of_trial(tried), _outcome_of_calls(used)) != ("accepted", "worked"):
                bad.append(label)
    return bad


def write_cases(bases: Mapping[str, Gguf], seed: int, indices: Iterable[int], to: Path) -> None:
    """Writes the files of cases, and says what was changed."""
    cases = FileCases(bases, seed)
    for case in map(cases.case, indices):
        (to / f"{seed}-{case.index}.gguf").write_bytes(case.data)
        print(f"{seed}-{case.index}.gguf: {case.description}")


def _outcome_of_trial(end: End) -> str | None:
    """``None``: a failure."""
    results = _results(end)
    if SURPRISE in results.values() or (end.code not in (0, None) and not end.died):
        return None
    if results.get("rules") == REFUSED:
        return "rules: refused"
    if results.get("trial") == BEGUN:
        return "trial: hung" if end.code is None else f"trial: died ({end.how})"
    if results.get("trial") == REFUSED:
        return "trial: error"
    return "accepted" if results.get("trial") == WORKED and end.code == 0 else None


def _outcome_of_calls(end: End) -> str | None:
    """``None``: a failure."""
    results = _results(end)
    if end.code != 0 or SURPRISE in results.values():
        return None
    if results.get("load") == REFUSED:
        return "refused at load"
    if set(results.values()) == {WORKED}:
        return "worked"
    texts = [results[name] for name in ("greedy", "tokens", "sampled", "plain", "chat")]
    return "some calls refused" if WORKED in texts else "all calls refused"


def _results(end: End) -> dict[str, str]:
    """The last result of each stage."""
    return {stage: result for stage, result, _ in end.said}


def _what(end: End) -> str:
    stages = [stage for stage, result, _ in end.said if result in (BEGUN, SURPRISE)]
    surprises = [stage for stage, result, _ in end.said if result == SURPRISE]
    if surprises:
        return f"{surprises[0]}: an undocumented exception"
    return f"{stages[-1] if stages else 'start'}: {end.how}"


def _last_words(end: End) -> str:
    said = [words for _, result, words in end.said if result in (REFUSED, SURPRISE) and words]
    lines = [line for line in end.stderr.splitlines() if "ASSERT" in line or "Error" in line]
    return " | ".join([*said[-1:], *lines[-1:]])[:500]
