"""Describes the hardware, libraries and models of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from specbranch_cpp import _core
from specbranch_cpp._llama import cpu_flags
from specbranch_cpp._support.files import file_sha256
from specbranch_cpp._support.model_parts import model_parts, model_sha256
from specbranch_cpp._support.system import load_average as load_of_system
from specbranch_cpp._support.system import physical_memory, usable_cpus

_PACKAGE = Path(__file__).resolve().parents[1]
_SYSTEM = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Hardware:
    """The hardware that this process may use.

    Attributes:
        cpu: model of the CPU.
        cpus: numbers of the CPUs.
        cores: the CPUs, grouped by core.
        n_usable: number of cores that may be busy at the same time; a control group may limit them.
        memory_bytes: memory of the machine; 0: not known.
        gpus: ggml's names and descriptions of the GPUs that llama.cpp uses by itself: the
            integrated ones only if there are no others.
    """

    cpu: str
    cpus: tuple[int, ...]
    cores: tuple[tuple[int, ...], ...]
    n_usable: int
    memory_bytes: int
    gpus: tuple[str, ...]

    @property
    def gpu_names(self) -> tuple[str, ...]:
        """ggml's names, such as ``"CUDA0"``."""
        return tuple(each.partition(": ")[0] for each in self.gpus)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "cpus": list(self.cpus), "cores": [*map(list, self.cores)],
                "gpus": list(self.gpus)}  # fmt: skip


def describe(system: Path = _SYSTEM) -> Hardware:
    """This machine."""
    cpus = usable_cpus()
    cores: dict[str, list[int]] = {}
    for cpu in cpus:
        try:
            siblings = (system / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(cpu)
        cores.setdefault(siblings, []).append(cpu)
    every = [device for device in _core.list_devices() if device.is_gpu]
    gpus = [device for device in every if not device.is_integrated] or every
    return Hardware(
        cpu=cpu_flags.cpu_model(cpu_flags.read_cpuinfo()),
        cpus=tuple(cpus),
        cores=tuple(map(tuple, cores.values())),
        n_usable=min(len(cores), _usable()),
        memory_bytes=physical_memory() or 0,
        gpus=tuple(f"{device.name}: {device.description}" for device in gpus),
    )


def _usable() -> int:
    """The number of cores that the engine uses by default, at least 2."""
    target, draft = _core.ModelOptions(b"target"), _core.ModelOptions(b"draft")
    _core.plan_threads(target, draft)
    return target.n_threads + draft.n_threads


def tidy(system: str) -> str:
    """llama.cpp's list of instruction sets, shortened."""
    return " ".join(system.replace("= 1", "").replace("|", " ").split())


def libraries() -> dict[str, str]:
    """Names and versions of the software that affects the speed."""
    llama = _core.library_info()
    found = {
        "llama.cpp": f"{llama.llama_version} ({llama.ggml_commit})",
        "ggml": llama.ggml_version,
        "instruction sets": tidy(llama.system),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for name in ("llama-cpp-python", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def package() -> dict[str, Any]:
    """Version of this package, digest of its extension, and the commit that it was made from."""
    return {
        "version": _core.__version__,
        "extension_sha256": file_sha256(str(_core.__file__)),
        "commit": _commit(_PACKAGE) or _core.build_commit() or None,
    }


def _commit(folder: Path) -> str | None:
    """The commit of the clone that tracks these files, with ``-dirty`` if a file has changed."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A package that is installed below a clone (.venv) is not tracked by it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}-dirty" if commit and changed else commit


def model(path: Path) -> dict[str, Any]:
    """Data that identify a model: name of its file, size, digest; of all parts if it is split."""
    file = _core.inspect_model(os.fsencode(path))
    return {
        "name": path.name,
        "bytes": sum(Path(part).stat().st_size for part in model_parts(str(path))),
        "sha256": model_sha256(str(path)),
        "parameters": file.n_parameters,
        "quantization": file.quantization,
    }


def load_average() -> float | None:
    """The load average of the last minute. ``None``: not known."""
    load = load_of_system()
    return None if load is None else round(load, 2)
