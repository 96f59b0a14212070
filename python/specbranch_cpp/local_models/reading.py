"""Reads the files that a walk found: models, other files, and files that cannot be used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gguf import LlamaFileType

from specbranch_cpp._support.gguf_header import Header, HeaderError, read_header, step_bytes
from specbranch_cpp._support.model_parts import model_parts
from specbranch_cpp._support.split_files import PartName
from specbranch_cpp._support.words import message
from specbranch_cpp.check.files import read_model
from specbranch_cpp.errors import SpecBranchError
from specbranch_cpp.local_models.report import LocalModel, OtherFile, UnusableFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from specbranch_cpp.check.report import ModelReport
    from specbranch_cpp.local_models.walk import Candidate

__all__ = ["ReadModel", "by_file", "missing_first_parts", "read_file"]


@dataclass(frozen=True)
class ReadModel:
    """A model, and the header that tells which other models have the same vocabulary."""

    model: LocalModel
    header: Header


def by_file(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """The paths of each file. Parts of a split model after the first are left out."""
    groups: dict[tuple[int, int], list[Candidate]] = {}
    for one in candidates:
        part = PartName.read(one.path.name)
        if part is None or part.number == 1:
            group = groups.setdefault(one.identity, [])
            if all(one.path != other.path for other in group):  # places may overlap
                group.append(one)
    return list(groups.values())


def missing_first_parts(candidates: Iterable[Candidate]) -> list[UnusableFile]:
    """A line for each split model whose first part is not beside the others."""
    found: dict[Path, UnusableFile] = {}
    for one in candidates:
        part = PartName.read(one.path.name)
        if part is None or part.number == 1:
            continue
        first = one.path.with_name(part.names[0])
        if first not in found and not os.path.lexists(first):
            reason = f"this is part {part.number} of {part.count}; {first.name} is missing"
            found[first] = UnusableFile(str(one.path), reason, one.name)
    return list(found.values())


def read_file(paths: Sequence[Candidate]) -> ReadModel | OtherFile | UnusableFile:
    """Reads a file that has these paths.

    Only one of them may have a name by which the other parts of a split model are found.
    """
    first_failure: OtherFile | UnusableFile | None = None
    for one in paths:
        others = [each for each in paths if each is not one]
        found = _read(one, others)
        if isinstance(found, ReadModel):
            return found
        first_failure = first_failure or found
    assert first_failure is not None
    return first_failure


def _read(one: Candidate, others: Sequence[Candidate]) -> ReadModel | OtherFile | UnusableFile:
    try:
        report = read_model(one.path)
    except SpecBranchError as error:
        return _refused(one, message(error))
    except UnicodeDecodeError:  # of a text that pybind11 converts
        return _refused(one, "its metadata is not UTF-8")
    try:
        parts = list(map(Path, model_parts(str(one.path))))  # the name alone makes no split model
        headers = [read_header(path) for path in parts]
        size = sum(path.stat().st_size for path in parts)
    except (HeaderError, OSError, SpecBranchError) as error:
        return UnusableFile(str(one.path), str(error), one.name)
    model = LocalModel(
        path=str(one.path),
        name=one.name,
        source=one.source,
        other_paths=tuple(str(other.path) for other in others),
        title=report.name,
        architecture=report.architecture,
        n_parameters=report.n_parameters,
        quantization=_quantization(report, headers[0]),
        n_ctx_train=report.n_ctx_train,
        chat_template=headers[0].chat_template,
        n_parts=len(parts),
        size=size,
        step_bytes=max(1, step_bytes(headers)),
        memory=report.total,
    )
    return ReadModel(model, headers[0])


def _refused(one: Candidate, reason: str) -> OtherFile | UnusableFile:
    """The kind of a file that the engine refuses, or the reason."""
    try:
        header = read_header(one.path)
        kind = header.kind or ("embedding model" if header.embeds else None)
    except (HeaderError, OSError):
        kind = None
    if kind is not None:
        return OtherFile(str(one.path), one.name, kind, one.size)
    # The path stands beside the reason.
    reason = reason.replace(f"; {one.path}", "")
    return UnusableFile(str(one.path), " ".join(reason.split()), one.name)


def _quantization(report: ModelReport, header: Header) -> str:
    """The name that publishers use, such as ``Q4_K_M``; otherwise the type of the weights."""
    number = header.values.get("general.file_type")
    if not isinstance(number, int):
        return report.quantization
    try:
        name = LlamaFileType(number).name
    except ValueError:
        return report.quantization
    name = name.removeprefix("ALL_").removeprefix("MOSTLY_")
    return report.quantization if name == "GUESSED" else name
