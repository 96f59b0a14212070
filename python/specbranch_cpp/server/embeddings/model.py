"""A model for embeddings: its file, its process, and the vectors of texts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specbranch_cpp import _core
from specbranch_cpp._llama.child import interpreter
from specbranch_cpp._support import checked
from specbranch_cpp._support.gguf_header import HeaderError, read_header
from specbranch_cpp._support.words import in_unicode
from specbranch_cpp.errors import InvalidArgument, ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    import numpy.typing as npt
    from typing_extensions import Self

    from specbranch_cpp._support.gguf_header import Header

__all__ = ["POOLINGS", "EmbeddingFailed", "EmbeddingModel", "Embeddings", "TextRefused"]

# llama.cpp's numbers. RANK is no pooling of embeddings: its result is a score.
POOLINGS = {"mean": 1, "cls": 2, "last": 3}
_NONE, _RANK = 0, 4

_N_CTX = 2048  # default, where the model was trained with more
_WITHOUT_FLASH = 2048  # above it, the scores of attention would take gigabytes
_LAST_WORDS = 4096


class EmbeddingFailed(Exception):  # noqa: N818
    """The process ended, or llama.cpp failed. The next request starts a new process if needed."""


class TextRefused(Exception):  # noqa: N818
    """A text has no tokens, or too many.

    Args:
        index: the place of the text among the given texts.
        n_tokens: its number of tokens.
        n_ctx: the largest number.
    """

    def __init__(self, index: int, n_tokens: int, n_ctx: int) -> None:
        super().__init__(f"text {index} has {n_tokens} tokens; 1 .. {n_ctx} are possible")
        self.index = index
        self.n_tokens = n_tokens
        self.n_ctx = n_ctx


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The vectors of some texts.

    Attributes:
        vectors: shape (texts, dimensions), float32, each of length 1.
        n_tokens: the number of tokens of each text that were read.
    """

    vectors: npt.NDArray[np.float32]
    n_tokens: list[int]


class EmbeddingModel:
    """A GGUF model for embeddings, loaded by llama-cpp-python in a process of its own.

    The process keeps faults of this model away from the engine. If it dies, one request fails, and
    the next one starts a new process.

    Args:
        path: the GGUF file.
        alias: the name of the model in replies. ``None`` (default): ``general.name`` of the file,
            or the name of the file.
        pooling: how the vectors of all tokens become one: ``"mean"``, ``"cls"`` (the first token)
            or ``"last"``. ``None`` (default): what the file says.
        n_ctx: the largest number of tokens of a text. ``None`` (default): the length that the model
            was trained with, at most 2048.
        n_threads: the number of CPU threads. ``None`` (default): one for each core.
        n_gpu_layers: the number of layers on GPUs; -1: all layers. Default 0.

    Raises:
        InvalidArgument: an argument is out of its range, or the file does not say its pooling.
        ModelLoadError: the file is missing or damaged, or llama.cpp refuses it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        alias: str | None = None,
        pooling: str | None = None,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        n_gpu_layers: int = 0,
    ) -> None:
        self.path = Path(os.fsdecode(checked.path("path", path)))
        header = _header(self.path)
        trained = header.values.get(f"{header.architecture}.context_length")
        if not isinstance(trained, int) or trained < 1:
            raise ModelLoadError(f"the file states no context length: {self.path}")
        self.n_ctx = min(trained, _N_CTX) if n_ctx is None else n_ctx
        checked.integer("n_ctx", self.n_ctx, 1, trained)
        name = alias or str(header.values.get("general.name") or self.path.stem)
        self.id = in_unicode(name)
        self.created = int(time.time())
        self.architecture = header.architecture
        self.pooling = _pooling(header, pooling, self.path)
        options: dict[str, Any] = {
            "model_path": str(self.path),
            "n_ctx": self.n_ctx,
            # An encoder reads each text in one forward pass.
            "n_batch": self.n_ctx,
            "n_ubatch": self.n_ctx,
            "pooling_type": POOLINGS[self.pooling],
            "n_gpu_layers": checked.integer("n_gpu_layers", n_gpu_layers),
            "flash_attn": self.n_ctx > _WITHOUT_FLASH,
        }
        if n_threads is None:
            planned = _core.ModelOptions(os.fsencode(self.path))
            _core.plan_threads(planned)
            n_threads = planned.n_threads
        options["n_threads"] = options["n_threads_batch"] = checked.integer(
            "n_threads", n_threads, 1, 512
        )
        self._options = json.dumps(options)
        self._lock = threading.Lock()
        self._closed = False
        self._process: _Process | None = _Process(self._options)
        self.n_dimensions: int = self._process.hello["n_embd"]

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """The vectors of texts. Any thread may call this; the texts of one call come together.

        Args:
            texts: at least one text.
            truncate: whether a text that is too long is cut at its end.

        Raises:
            TextRefused: a text has no tokens, or more than ``n_ctx`` without ``truncate``.
            EmbeddingFailed: the process died, or llama.cpp failed.
        """
        with self._lock:
            if self._closed:
                raise EmbeddingFailed("the embedding model is closed")
            if self._process is None:
                self._process = self._start_again()
            try:
                told, vectors = self._process.ask(
                    {"texts": list(texts), "truncate": truncate}, self.n_dimensions
                )
            except EmbeddingFailed:
                self._process.end()
                self._process = None
                raise
        if "refused" in told:
            raise TextRefused(told["refused"], told["n_tokens_of_it"], self.n_ctx)
        if "error" in told:
            raise EmbeddingFailed(f"llama.cpp failed; {told['error']:.300}")
        if not np.isfinite(vectors).all():
            raise EmbeddingFailed("the model gives numbers that are not finite")
        return Embeddings(vectors, told["n_tokens"])

    def _start_again(self) -> _Process:
        try:
            return _Process(self._options)
        except ModelLoadError as error:
            raise EmbeddingFailed(str(error)) from None

    def close(self) -> None:
        """Ends the process. A call that runs fails. A second `close` does nothing."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _header(path: Path) -> Header:
    try:
        header = read_header(path)
    except OSError as error:
        raise ModelLoadError(f"the file cannot be read: {error.strerror}: {path}") from None
    except HeaderError as error:
        raise ModelLoadError(f"{error}: {path}") from None
    if header.kind is not None:
        raise ModelLoadError(f"the file is a {header.kind}, not a model for embeddings: {path}")
    return header


def _pooling(header: Header, given: str | None, path: Path) -> str:
    if given is not None:
        if given not in POOLINGS:
            raise InvalidArgument(f"pooling is {given!r}; it must be one of {', '.join(POOLINGS)}")
        return given
    said = header.values.get(f"{header.architecture}.pooling_type", _NONE)
    if said == _RANK:
        raise ModelLoadError(f"the model ranks texts and makes no embeddings: {path}")
    for name, number in POOLINGS.items():
        if said == number:
            return name
    raise InvalidArgument(
        "pooling is None, and the file does not say how the vectors of the tokens become one; it "
        f"must be one of {', '.join(POOLINGS)}: see the description of the model; {path}"
    )


class _Process:
    """One life of the process. Its errors go to a file, the end of which is a reason.

    Raises:
        ModelLoadError: the process ended before it had loaded the model.
    """

    def __init__(self, options: str) -> None:
        self._log: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        self._process = subprocess.Popen(
            [interpreter(), "-m", "specbranch_cpp.server.embeddings.worker", options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the server, which ends this process at its end
        )
        try:
            line = self._answers.readline()
            if not line:
                raise ModelLoadError(f"llama.cpp could not load the embedding model; {self._why()}")
            self.hello: dict[str, Any] = json.loads(line)
        except BaseException:
            self.end()
            raise

    @property
    def _answers(self) -> Any:
        return self._process.stdout

    def ask(
        self, request: dict[str, Any], n_dimensions: int
    ) -> tuple[dict[str, Any], npt.NDArray[np.float32]]:
        """The object that it answers, and the vectors behind it.

        Raises:
            EmbeddingFailed: the process died.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._answers.readline()
            told: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
            n_bytes = 4 * n_dimensions * len(told.get("n_tokens", ()))
            data = self._answers.read(n_bytes)
        except (OSError, ValueError):  # a closed pipe
            told, n_bytes, data = {}, 0, b""
        if not told or len(data) != n_bytes:
            raise EmbeddingFailed(f"the process of the embedding model ended; {self._why()}")
        return told, np.frombuffer(data, np.float32).reshape(-1, n_dimensions)

    def _why(self) -> str:
        """How the process ended, and its last words."""
        code = self._process.wait()
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - _LAST_WORDS))
        lines = self._log.read().decode(errors="replace").splitlines()
        telling = [line.strip() for line in lines if "rror" in line or "ASSERT" in line]
        return f"{how}; {telling[0]:.300}" if telling else how

    def kill(self) -> None:
        """Whoever waits for an answer gets an error. Any thread."""
        self._process.kill()

    def end(self) -> None:
        """Frees everything. Nobody may wait for an answer."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._log.close()
