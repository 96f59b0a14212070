"""The reasons for which a test may be skipped in CI; any other skip fails the run there.

A pytest plugin, which conftest.py loads. On a developer's machine every skip is allowed: pytest
lists them at the end of a run.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

ALLOWED = {
    r"training needs torch": (
        "On PyPI, PyTorch for Linux comes with several GB of CUDA. CI installs it where pip is "
        "configured to find a build for CPUs (tools/setup/registry.py); elsewhere it does without."
    ),
    r"llama\.cpp finds no GPU here, or was built without one": (
        "CI's machines have no GPU; benchmarks/gpu_suite.sh runs these tests on one."
    ),
    r"llama\.cpp finds fewer than two GPUs here": "As above.",
    r"this test needs the extra clients": (
        "These clients bring hundreds of megabytes of their own requirements."
    ),
    r"Outlines' own processor needs numba": (
        "numba has 200 MB. The index of Outlines as a mask is tested without it."
    ),
    r"this test needs lm_eval": (
        "Its requirements (datasets, pandas, scikit-learn and more) have hundreds of megabytes. "
        "SPECBRANCH_LM_EVAL may name the interpreter of an environment that has it."
    ),
    r"this test needs Zig": (
        "The package ziglang has 90 MB; whoever changes what asks the system installs it."
    ),
    r"llama\.cpp was built without its RPC backend": (
        "So are the wheels on PyPI, and a build takes minutes. Whoever changes _rpc/ makes one "
        "(CONTRIBUTING)."
    ),
    r"this llama\.cpp has its RPC backend": "These tests are for a llama.cpp without it.",
    r"network namespaces need root and the command ip": (
        "Whoever changes _rpc/ runs these tests as root (CONTRIBUTING)."
    ),
    r"this machine has no IPv6": "Containers often have none.",
    r"SPECBRANCH_REAL_MODELS names no folder with real models": (
        "Real models have gigabytes; whoever changes what depends on them has them (CONTRIBUTING)."
    ),
}
"""Patterns of reasons, and why each is no fault of the set-up."""


class Skips:
    """Collects the reasons and judges them at the end."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._unexpected() and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if unexpected := self._unexpected():
            terminalreporter.section("skipped in CI without leave", red=True)
            for reason in unexpected:
                terminalreporter.line(reason)
            terminalreporter.line(f"Install what is missing, or say why not in {__file__}")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # An expected failure is reported as skipped too, without a place.
        if report.skipped and isinstance(report.longrepr, tuple):
            self._reasons.append(report.longrepr[2].removeprefix("Skipped: "))

    def _unexpected(self) -> list[str]:
        return without_leave(self._reasons)


def without_leave(reasons: Iterable[str]) -> list[str]:
    """Those of the reasons that are not allowed."""
    return sorted({reason for reason in reasons if not re.fullmatch("|".join(ALLOWED), reason)})


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(Skips(), "specbranch-skips")
