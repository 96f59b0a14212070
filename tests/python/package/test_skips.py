"""In CI a test may be skipped only for a reason that is listed with why it is none of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.python.conftest import ROOT
from tests.python.support.skips import ALLOWED

TESTS = """
import pytest

def test_that_passes():
    pass

def test_that_is_skipped():
    pytest.skip({reason!r})

@pytest.mark.xfail
def test_that_is_expected_to_fail():
    assert False
"""


def run(folder: Path, tests: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text("from tests.python.support.skips import pytest_configure\n")
    (folder / "test_it.py").write_text(tests)
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}"],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_skip_for_a_missing_tool_fails_ci(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS.format(reason="there is no screwdriver"), CI="true")
    assert done.returncode == 1, done.stdout
    assert "skipped in CI without leave" in done.stdout
    assert "there is no screwdriver" in done.stdout


def test_so_does_a_whole_file(tmp_path: Path) -> None:
    done = run(tmp_path, "import pytest\npytest.importorskip('no_such_package')\n", CI="true")
    assert done.returncode == 1, done.stdout
    assert "no_such_package" in done.stdout


@pytest.mark.parametrize(
    ("reason", "variables"),
    [("training needs torch", {"CI": "true"}), ("there is no screwdriver", {})],
    ids=["listed", "not in CI"],
)
def test_other_skips_are_fine(reason: str, variables: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path, TESTS.format(reason=reason), **variables)
    assert done.returncode == 0, done.stdout
    assert "without leave" not in done.stdout


def test_every_listed_reason_is_one_of_a_test() -> None:
    folder = ROOT / "tests/python"
    files = {*folder.rglob("test_*.py"), *folder.rglob("conftest.py")} - {Path(__file__).resolve()}
    sources = "\n".join(path.read_text() for path in files)
    for reason in ALLOWED:
        assert reason.replace("\\", "") in sources
