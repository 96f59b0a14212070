"""The record file of `specbranch bench`: append, stop, go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specbranch_cpp.bench import records, session
from specbranch_cpp.bench.records import RecordFile
from specbranch_cpp.errors import InvalidArgument

HEADER = {"plan": {"tokens": 5, "variants": {"auto": {}}}, "made": "today", "command": "a"}


def test_records_are_on_the_disk_at_once(tmp_path: Path) -> None:
    with RecordFile(tmp_path / "new/folder", HEADER) as file:
        file.add("begin", part=file.part)
        file.add("turn", key="k", tokens=[1])
        found = records.read(tmp_path / "new/folder")
        assert [record["kind"] for record in found] == ["header", "begin", "turn"]
        assert found[0]["format"] == records.FORMAT
        assert file.has("k")
        assert not file.has("other")
        assert file.n_turns == 1


def test_a_run_goes_on(tmp_path: Path) -> None:
    with RecordFile(tmp_path, HEADER) as file:
        file.add("begin", part=file.part)
        file.add("turn", key="k", tokens=[1])
    with RecordFile(tmp_path, {**HEADER, "made": "tomorrow", "command": "b"}) as file:
        assert file.part == 1
        assert file.has("k")
        got = file.get("k")
        assert got is not None
        assert got["tokens"] == [1]
        file.add("turn", key="m")
    assert [record["kind"] for record in records.read(tmp_path)] == [
        "header", "begin", "turn", "turn",
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [1, 10])
def test_a_line_that_was_cut_off_is_measured_again(tmp_path: Path, cut: int) -> None:
    with RecordFile(tmp_path, HEADER) as file:
        file.add("turn", key="whole")
        file.add("turn", key="cut")
    path = tmp_path / records.NAME
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(records.read(tmp_path)) == 2
    with RecordFile(tmp_path, HEADER) as file:
        assert file.has("whole")
        assert not file.has("cut")
        file.add("turn", key="cut")
    lines = path.read_text().splitlines()
    assert [json.loads(line).get("key") for line in lines] == [None, "whole", "cut"]


def test_a_header_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    (tmp_path / records.NAME).write_text('{"kind": "head')
    with RecordFile(tmp_path, HEADER):
        pass
    assert records.read(tmp_path)[0]["plan"] == HEADER["plan"]


def test_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    with RecordFile(tmp_path, HEADER):
        pass
    other = {**HEADER, "plan": {"tokens": 6, "variants": {"pearl": {"k": 1}}}}
    with pytest.raises(InvalidArgument) as caught:
        RecordFile(tmp_path, other)
    message = str(caught.value)
    assert "plan tokens was 5 and is 6" in message
    assert "plan variants auto was {} and is null" in message
    assert 'plan variants pearl was null and is {"k": 1}' in message
    assert "made" not in message
    with RecordFile(tmp_path, HEADER):  # nothing was written, and nothing is held open
        pass


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        RecordFile(tmp_path, HEADER),
        pytest.raises(InvalidArgument, match="another process"),
    ):
        RecordFile(tmp_path, HEADER)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no header"),
        ("no JSON\n", "line 1 is not JSON"),
        ("[1]\n", "line 1 is not a record"),
        ('{"kind": "header", "format": "specbranch-bench-0"}\n', "the format 'specbranch-bench-0'"),
        (
            '{"kind": "header", "format": "specbranch-bench-2"}\n',
            "'specbranch-bench-2' of an earlier version .* did not take turns .* Measure again",
        ),
        (
            '{"kind": "header", "format": "specbranch-bench-3"}\n{"a": 1}\n',
            "line 2 is not a record",
        ),
    ],
)
def test_damaged_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / records.NAME).write_text(content)
    with pytest.raises(InvalidArgument, match=message):
        records.read(tmp_path)


PLAN: dict[str, object] = {
    "pairs": [],
    "placements": {},
    "prompts": {},
    "temperatures": [],
    "variants": {},
}


@pytest.mark.parametrize(
    ("header", "lines"),
    [
        ({}, []),
        ({"plan": 1}, []),
        ({"plan": PLAN}, []),  # the report needs more of the header
        ({"plan": PLAN}, [{"kind": "turn"}]),
        ({"plan": PLAN}, [{"kind": "difference", "key": 3, "gap": 0}]),
        ({"plan": {**PLAN, "pairs": [0], "placements": {"a": {}}, "prompts": {"b": {}},
                   "temperatures": [0]}},
         [{"kind": "turn", "pair": 0, "placement": "a", "prompts": "b", "temperature": 0,
           "variant": "auto"}]),
    ],
)  # fmt: skip
def test_a_report_of_records_that_do_not_fit_together(
    tmp_path: Path, header: dict[str, object], lines: list[dict[str, object]]
) -> None:
    first = {"kind": "header", "format": records.FORMAT, **header}
    text = "".join(json.dumps(each) + "\n" for each in [first, *lines])
    (tmp_path / records.NAME).write_text(text)
    with pytest.raises(InvalidArgument, match=r"run.jsonl is damaged: its records do not fit"):
        session.write_report(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [records.NAME]


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        records.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match="cannot be written"):
        RecordFile(tmp_path / "file", HEADER)
