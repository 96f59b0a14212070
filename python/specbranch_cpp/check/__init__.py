"""Finds out whether a draft helps a target on this machine.

    from specbranch_cpp import check

    report = check.examine("target.gguf", "draft.gguf")
    print(report.verdict.value, report.reason)
    print(report.advice.python)

The `Report` contains everything that the command ``specbranch check`` prints.
"""

from __future__ import annotations

from specbranch_cpp.check.exact_rows import ExactReport, ExactTrial, examine_rows
from specbranch_cpp.check.examine_pair import examine
from specbranch_cpp.check.report import (
    Acceptance,
    AdapterReport,
    Advice,
    DeviceMemory,
    Interval,
    Measurement,
    ModeFigures,
    ModelReport,
    Needs,
    PlacementFigures,
    Report,
    StepFigures,
    Verdict,
)

__all__ = [
    "Acceptance",
    "AdapterReport",
    "Advice",
    "DeviceMemory",
    "ExactReport",
    "ExactTrial",
    "Interval",
    "Measurement",
    "ModeFigures",
    "ModelReport",
    "Needs",
    "PlacementFigures",
    "Report",
    "StepFigures",
    "Verdict",
    "examine",
    "examine_rows",
]
