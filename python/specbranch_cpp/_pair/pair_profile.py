"""The file of a profile: step costs and acceptance rates that an engine measured."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core
from specbranch_cpp._llama import cpu_flags
from specbranch_cpp._pair.saved_profile import ROUNDED
from specbranch_cpp._support import logs
from specbranch_cpp._support.files import from_json, open_file, read_file, replace_file
from specbranch_cpp._support.model_parts import model_parts
from specbranch_cpp._support.system import usable_cpus
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = "specbranch-profile-2"

_MIB = 2**20
# Options of a model that change its step costs.
MODEL_OPTIONS = (
    "n_threads",
    "n_threads_batch",
    "cpus",
    "n_gpu_layers",
    "main_gpu",
    "devices",
    "split_mode",
    "tensor_split",
    "flash_attn",
    "type_k",
    "type_v",
    "offload_kqv",
    "swa_full",
    "use_extra_bufts",
    "n_ubatch",
)
_TABLE = {"hits": 20, "expected": 20, "seen": 20, "rank_hits": 8, "rank_expected": 8}
_COUNTS = (
    "first_hits",
    "first_count",
    "beyond_hits",
    "beyond_expected",
    "beyond_trials",
    "beyond_wins",
)
_FLAGS = ("beyond_first",)
_MOST = 1e12
"""No step takes so many microseconds, and no table has so many observations."""
_COSTS = ("target_us", "draft_us", "target_slowdown", "draft_slowdown")
_CLASSES = 3  # classes of temperatures: greedy, up to 0.5, above 0.5


def model_facts(target: str, draft: str, target_options: _core.ModelOptions) -> dict[str, Any]:
    """What identifies the models of a pair.

    It is found out while they are loaded. Later the files may be gone, or be those of others.

    Raises:
        OSError: a file cannot be read.
        ModelLoadError: the header is damaged, or a part is missing.
    """
    models: dict[str, Any] = {"target": fingerprint(target), "draft": fingerprint(draft)}
    if target_options.adapters:
        models["adapters"] = adapter_fingerprints(target_options)
    return models


def make_key(
    *,
    models: dict[str, Any],
    target_options: _core.ModelOptions,
    draft_options: _core.ModelOptions,
    bit_exact: bool,
) -> dict[str, Any]:
    """The data that must be equal for a profile to be used.

    The models must be equal for the whole profile, the other data for the costs.
    ``models``: see `model_facts`.
    """
    options = {"target": target_options, "draft": draft_options}
    library = _core.library_info()
    machine: dict[str, Any] = {
        "cpu": cpu_flags.cpu_model(cpu_flags.read_cpuinfo()),
        "n_cpus": len(usable_cpus()),
        "llama.cpp": f"{library.llama_version} ({library.ggml_commit})",
        "bit_exact": bit_exact,
    }
    if any(each.n_gpu_layers != 0 for each in options.values()):
        devices = (device for device in _core.list_devices() if device.is_gpu)
        machine["gpus"] = [f"{device.name}: {device.description}" for device in devices]
    for side, each in options.items():
        machine[side] = {name: getattr(each, name) for name in MODEL_OPTIONS}
    return {"models": models, "machine": machine}


def load(path: str, key: dict[str, Any]) -> _core.PairProfile:
    """The parts of a saved profile that fit these models and this machine.

    If the file does not exist, the profile is empty.

    Raises:
        InvalidArgument: the file is damaged, or it cannot be read.
    """
    try:
        text = read_file(path).decode()
    except FileNotFoundError:
        if not Path(path).parent.is_dir():
            raise InvalidArgument(f"profile is {path!r}, but its folder does not exist") from None
        return _core.PairProfile()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InvalidArgument(f"profile {path!r} cannot be read: {reason}") from None
    try:
        saved = _parse(text)
    except _DamagedError as error:
        raise InvalidArgument(f"profile {path!r} is damaged: {error}") from None
    profile = _core.PairProfile()
    if changes := list(_differences(saved["models"], key["models"])):
        _warn(path, "is ignored, because it is from other models", changes)
        return profile
    profile.acceptance = [_acceptance(table) for table in saved["acceptance"]]
    if changes := list(_differences(saved["machine"], key["machine"])):
        _warn(path, "has costs from another machine or other settings, which are ignored", changes)
    elif saved["costs"] is not None:
        profile.costs = _costs(saved["costs"])
    return profile


def save(path: str, key: dict[str, Any], profile: _core.PairProfile) -> None:
    """Writes the file atomically: a reader sees the old file or the new file."""
    costs = profile.costs
    content = {
        "format": FORMAT,
        **key,
        "costs": {name: getattr(costs, name) for name in _COSTS} if costs.known else None,
        "acceptance": [
            {name: getattr(table, name) for name in (*_TABLE, *_COUNTS, *_FLAGS)}
            for table in profile.acceptance
        ],
    }
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


class _DamagedError(Exception):
    """The reason why a file is not a valid profile."""


def _parse(text: str) -> dict[str, Any]:
    """The content of the file. Everything except the key is checked."""
    try:
        saved = from_json(text)
    except ValueError as error:
        raise _DamagedError(f"it is not JSON ({error})") from None
    if not isinstance(saved, dict) or "format" not in saved:
        raise _DamagedError("it has no format")
    if saved["format"] != FORMAT:
        raise _DamagedError(f"its format is {saved['format']!r}; it must be {FORMAT!r}")
    for name in ("models", "machine"):
        if not isinstance(saved.get(name), dict):
            raise _DamagedError(f"{name} is missing")
    if saved.get("costs", 0) is not None:
        costs = saved.get("costs")
        if not isinstance(costs, dict):
            raise _DamagedError("costs is missing")
        for name in ("target_us", "draft_us"):
            _numbers(costs, name, None)
        for name in ("target_slowdown", "draft_slowdown"):
            if _number(costs, name) < 1.0:
                raise _DamagedError(f"{name} is below 1")
    tables = saved.get("acceptance")
    if not isinstance(tables, list) or len(tables) != _CLASSES:
        raise _DamagedError(f"acceptance does not have {_CLASSES} tables")
    for table in tables:
        if not isinstance(table, dict):
            raise _DamagedError("an acceptance table is missing")
        for name, length in _TABLE.items():
            _numbers(table, name, length)
        for name in _COUNTS:
            _number(table, name)
        if table["first_hits"] > ROUNDED * table["first_count"]:
            raise _DamagedError("first_hits is above first_count")
        for name in _FLAGS:
            if not isinstance(table.get(name), bool):
                raise _DamagedError(f"{name} is missing, or not true or false")
    return saved


def _number(values: dict[str, Any], name: str) -> float:
    return _numbers({name: [values.get(name)]}, name, 1)[0]


def _numbers(values: dict[str, Any], name: str, length: int | None) -> list[float]:
    found = values.get(name)
    if not isinstance(found, list) or not found or length not in (None, len(found)):
        raise _DamagedError(f"{name} is missing or has the wrong length")
    for value in found:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not 0 <= value <= _MOST:
            raise _DamagedError(f"{name} has {value!r:.40}; it must be a number in 0 .. {_MOST:g}")
    return found


def _costs(saved: dict[str, Any]) -> _core.StepCosts:
    costs = _core.StepCosts()
    for name in _COSTS:
        setattr(costs, name, saved[name])
    return costs


def _acceptance(saved: dict[str, Any]) -> _core.AcceptanceTable:
    table = _core.AcceptanceTable()
    for name in (*_TABLE, *_COUNTS, *_FLAGS):
        setattr(table, name, saved[name])
    return table


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for each in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(each), new.get(each), f"{name} {each}".strip())
    elif old != new:
        yield f"{name} was {old!r} and is {new!r}"


def _warn(path: str, what: str, changes: list[str]) -> None:
    logs.PROFILES.warning("profile %r %s: %s", path, what, "; ".join(changes))


def adapter_fingerprints(options: _core.ModelOptions) -> list[dict[str, Any]]:
    """`fingerprint` of each LoRA adapter of a model, and its scale.

    Raises:
        OSError: a file cannot be read.
        ModelLoadError: the header is damaged.
    """
    return [{**fingerprint(os.fsdecode(path)), "scale": scale} for path, scale in options.adapters]


def fingerprint(path: str) -> dict[str, Any]:
    """Size and a hash of both ends, because hashing a whole large file would take seconds.

    If the model is split, the size is that of all parts, and the hash covers the ends of each.

    Raises:
        OSError: a file cannot be read.
        ModelLoadError: the header is damaged, or a part is missing.
    """
    digest = hashlib.sha256()
    size = 0
    for part in model_parts(path):
        with open_file(part) as file:
            digest.update(file.read(_MIB))
            n_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, n_bytes - _MIB))
            digest.update(file.read(_MIB))
        size += n_bytes
    return {"bytes": size, "sha256_of_ends": digest.hexdigest()}
