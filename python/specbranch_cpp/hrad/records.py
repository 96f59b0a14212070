"""The records of rounds, and the labels of their windows."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from specbranch_cpp._support.files import from_json, open_file, read_file, replace_file
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from specbranch_cpp.results import TraceRound

LABELS = ("none", "some", "all")
"""How much of a window the target accepted. The order is that of the classifier's classes."""

UNKNOWN = -1
SETTINGS = "settings.json"
_FLOAT16_MAX = 65504.0
_LARGEST = 1 << 32  # bytes of the records of one text
# A way to pack files that Python does not know is a `NotImplementedError`, and a password that is
# missing a `RuntimeError`.
_DAMAGES = (zipfile.BadZipFile, zlib.error, RuntimeError)
_TYPES = {
    "label": "i1", "features": "f2", "position": "i4", "n_submitted": "i2", "window": "i4",
    "confidence": "f4", "temperature": "f4", "prompt": "i8",
}  # fmt: skip
"""Type of each array of `Records`; those of `_TABLES` have two dimensions."""
_TABLES = ("features", "window", "confidence")
_NUMBERS = ("n_layers", "n_embd", "max_draft", "epsilon")
_TEXTS = ("mode", "target_name", "draft_name", "target_sha256", "draft_sha256")


def fate(window: Sequence[int], text: Sequence[int]) -> int:
    """The label of a window if the text continues with ``text``: an index of `LABELS`.

    The place where the engine cut the window or branched does not matter: a drafted token depends
    only on the tokens before it, so the target accepts it if and only if the text agrees up to this
    token. -1: the text ended too early for a label.
    """
    n_equal = 0
    for drafted, chosen in zip(window, text, strict=False):
        if drafted != chosen:
            break
        n_equal += 1
    if n_equal == len(window):
        return LABELS.index("all")
    if n_equal == len(text):
        return UNKNOWN
    return LABELS.index("some" if n_equal else "none")


@dataclass(frozen=True, eq=False)
class Records:
    """The rounds that have features and a window, in order; a row of every array is one round.

    Attributes:
        features: float16, as in `results.TraceRound`: the target's features when it chose the token
            before the window.
        label: int8, see `fate`; -1: not known.
        position: int32, position of the token before the window.
        n_submitted: int16, number of tokens of the window in the verification.
        window: int32, the drafted tokens; -1 after the last token.
        confidence: float32, the draft's confidence for each token; NaN after the last token.
        temperature: float32, temperature of the text.
        prompt: int64, number of the prompt among the prompts that were loaded together.
    """

    features: npt.NDArray[np.float16]
    label: npt.NDArray[np.int8]
    position: npt.NDArray[np.int32]
    n_submitted: npt.NDArray[np.int16]
    window: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float32]
    temperature: npt.NDArray[np.float32]
    prompt: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    def where(self, mask: npt.NDArray[np.bool_]) -> Records:
        """The rounds for which ``mask`` is true."""
        return Records(**{name.name: getattr(self, name.name)[mask] for name in fields(self)})


def rounds_of(
    rounds: Sequence[TraceRound], *, temperature: float = 0.0, prompt: int = 0
) -> Records:
    """The records of one generation, from the trace of a call with ``n_feature_layers``."""
    text = [token for one in rounds for token in one.committed]
    kept, labels, done = [], [], 0
    for one in rounds:
        if one.features is not None and one.window:
            kept.append(one)
            labels.append(fate(one.window, text[done:]))
        done += len(one.committed)
    n = len(kept)
    longest = max((len(one.window) for one in kept), default=0)
    width = len(kept[0].features) if kept and kept[0].features is not None else 0
    features = np.zeros((n, width), np.float16)
    window = np.full((n, longest), -1, np.int32)
    confidence = np.full((n, longest), np.nan, np.float32)
    for i, one in enumerate(kept):
        features[i] = np.clip(one.features, -_FLOAT16_MAX, _FLOAT16_MAX)  # type: ignore[arg-type]
        window[i, : len(one.window)] = one.window
        confidence[i, : len(one.window)] = one.confidence
    return Records(
        features=features,
        label=np.array(labels, np.int8),
        position=np.array([one.position for one in kept], np.int32),
        n_submitted=np.array([one.n_submitted for one in kept], np.int16),
        window=window,
        confidence=confidence,
        temperature=np.full(n, temperature, np.float32),
        prompt=np.full(n, prompt, np.int64),
    )


def save_records(path: Path, records: Records, about: dict[str, Any]) -> None:
    """Writes the records of one generation. The file is complete or absent."""
    buffer = io.BytesIO()
    arrays = {name.name: getattr(records, name.name) for name in fields(records)}
    np.savez(buffer, about=np.array(json.dumps(about)), **arrays)
    replace_file(path, buffer.getvalue())


def load_records(path: Path, prompt: int = 0) -> tuple[Records, dict[str, Any]]:
    """The records of one file, and their settings.

    Raises:
        InvalidArgument: the file has another format, or it is damaged.
    """
    try:
        with open_file(path) as raw:
            size = sum(each.file_size for each in zipfile.ZipFile(raw).infolist())
            if size > _LARGEST:  # a small file may have such parts, compressed
                raise ValueError(f"it has {size} bytes; it must have at most {_LARGEST} bytes")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                arrays = {name.name: file[name.name] for name in fields(Records)}
                about = from_json(str(file["about"]))
        _check_records(arrays, about)
    except (*_DAMAGES, OSError, ValueError, KeyError, EOFError, MemoryError) as error:
        raise InvalidArgument(f"{path} contains no records of H-RAD: {error}") from None
    arrays["prompt"] = np.full(len(arrays["label"]), prompt, np.int64)
    return Records(**arrays), about


def _check_records(arrays: dict[str, npt.NDArray[Any]], about: Any) -> None:
    """Checks that what was read fits together.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(about, dict) or not isinstance(about.get("prompt"), str):
        raise ValueError("it does not name its prompt")
    for name, kind in _TYPES.items():
        array = arrays[name]
        n_dimensions = 2 if name in _TABLES else 1
        if array.dtype != np.dtype(kind) or array.ndim != n_dimensions:
            raise ValueError(f"{name} has the type {array.dtype} and the shape {array.shape}")
        if len(array) != len(arrays["label"]):
            raise ValueError(f"{name} has {len(array)} rounds, label has {len(arrays['label'])}")
    label, window, confidence = arrays["label"], arrays["window"], arrays["confidence"]
    if len(label) and not UNKNOWN <= label.min() <= label.max() < len(LABELS):
        raise ValueError(f"label has {label.min()} .. {label.max()}; it must be in -1 .. 2")
    if window.shape != confidence.shape or len(label) > window[:, :1].size:
        raise ValueError(f"window has the shape {window.shape}, confidence {confidence.shape}")
    for name, array in (("features", arrays["features"]), ("confidence", confidence[:, :1])):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")


def load_traces(folders: Iterable[Path]) -> tuple[Records, dict[str, Any], list[str]]:
    """All records of some folders, the settings of the first, and the id of every prompt.

    A prompt has the same number at all temperatures, so that a split by prompt separates the texts.

    Raises:
        InvalidArgument: a folder has no traces, or they are of other models or other layers.
    """
    settings: dict[str, Any] = {}
    numbers: dict[str, int] = {}
    parts: list[Records] = []
    for folder in map(Path, folders):
        own = read_settings(folder)
        _check_settings(folder, own)
        for name in ("target_sha256", "draft_sha256", "n_layers", "n_embd"):
            if settings and own.get(name) != settings.get(name):
                raise InvalidArgument(
                    f"{folder} has traces with another {name}: {own.get(name)}, not "
                    f"{settings.get(name)}"
                )
        settings = settings or own
        width = (own["n_layers"] + 1) * own["n_embd"]
        for path in sorted(folder.glob("*.npz")):
            records, about = load_records(path)
            if len(records) and records.features.shape[1] != width:
                raise InvalidArgument(
                    f"{path} has {records.features.shape[1]} features in a round; they must be "
                    f"{width}, by the settings of its folder"
                )
            number = numbers.setdefault(about["prompt"], len(numbers))
            if len(records):
                parts.append(_numbered(records, number))
    if not parts:
        raise InvalidArgument("the traces have no rounds; run specbranch hrad collect first")
    return _joined(parts), settings, list(numbers)


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    for names, kinds in ((_NUMBERS, (int, float)), (_TEXTS, (str,))):
        for name in names:
            value = settings.get(name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise InvalidArgument(f"{folder / SETTINGS} is damaged: {name} is {value!r:.60}")


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the traces in a folder."""
    try:
        settings = from_json(read_file(folder / SETTINGS))
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{folder} has no traces: {error}") from None
    if not isinstance(settings, dict):
        raise InvalidArgument(f"{folder / SETTINGS} is damaged")
    return settings


def _numbered(records: Records, number: int) -> Records:
    values = {name.name: getattr(records, name.name) for name in fields(records)}
    values["prompt"] = np.full(len(records), number, np.int64)
    return Records(**values)


def _joined(parts: Sequence[Records]) -> Records:
    longest = max(part.window.shape[1] for part in parts)

    def widened(part: Records, name: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = getattr(part, name)
        if name not in ("window", "confidence"):
            return array
        missing = longest - array.shape[1]
        return np.pad(
            array, ((0, 0), (0, missing)), constant_values=-1 if name == "window" else np.nan
        )

    names = [name.name for name in fields(Records)]
    return Records(
        **{name: np.concatenate([widened(part, name) for part in parts]) for name in names}
    )
