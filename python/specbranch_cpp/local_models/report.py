"""The results of `find`."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "FORMAT",
    "Assumptions",
    "Catalog",
    "FoundPlace",
    "Gain",
    "LocalModel",
    "LocalPair",
    "OtherFile",
    "UnusableFile",
]

FORMAT = "specbranch-models-1"


@dataclass(frozen=True)
class FoundPlace:
    """A folder that was searched.

    Attributes:
        source: the program that keeps models there; ``"given folder"``: a folder of the caller.
        path: the folder.
    """

    source: str
    path: str


@dataclass(frozen=True)
class LocalModel:
    """A model that the engine can load; sizes in bytes.

    Attributes:
        path: the file, or the first part of a split model.
        name: the user's name for the model: ``owner/repository/file``, Ollama's name, or the path
            below the searched folder.
        source: the program that keeps the file; see `FoundPlace`.
        other_paths: more paths of the same file.
        title: ``general.name`` of the file; may be empty.
        architecture: llama.cpp's name, such as ``"llama"``.
        n_parameters: number of parameters.
        quantization: the file's type, such as ``"Q4_K_M"``, or the type of the weights, such as
            ``"q8_0"`` and ``"mostly q8_0"``.
        n_ctx_train: number of positions in the training.
        chat_template: whether the file has a chat template.
        n_parts: number of files; above 1 for a split model.
        size: size of all files.
        step_bytes: the bytes that a step of one token reads: all weights without the experts that a
            token does not use, and without tables of which a step reads a few rows.
        memory: memory for the weights, and for a context of 4096 tokens.
    """

    path: str
    name: str
    source: str
    other_paths: tuple[str, ...]
    title: str
    architecture: str
    n_parameters: int
    quantization: str
    n_ctx_train: int
    chat_template: bool
    n_parts: int
    size: int
    step_bytes: int
    memory: int


@dataclass(frozen=True)
class OtherFile:
    """A GGUF file that is no model, such as a LoRA adapter.

    Attributes:
        path: the file.
        name: as in `LocalModel`.
        kind: ``"LoRA adapter"``, ``"multimodal projector"``, ``"importance matrix"``, ``"control
            vector"``, ``"embedding model"`` or ``"vocabulary without weights"``.
        size: in bytes.
    """

    path: str
    name: str
    kind: str
    size: int


@dataclass(frozen=True)
class UnusableFile:
    """A file or folder that cannot be read, or that the engine cannot use.

    Attributes:
        path: the file or folder.
        reason: one line.
        name: as in `LocalModel`; empty for what is no model file, such as a folder.
    """

    path: str
    reason: str
    name: str = ""


@dataclass(frozen=True)
class Gain:
    """Estimated speed-ups of mode ``auto`` over autoregressive decoding.

    Attributes:
        expected: at the typical acceptance rate of `Assumptions`.
        low: at the low acceptance rate.
        high: at the high acceptance rate.
    """

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class LocalPair:
    """A target and a draft with vocabularies that fit.

    Attributes:
        target: path of the target.
        draft: path of the draft, which reads fewer bytes in a step.
        n_common: number of tokens that both vocabularies have.
        ratio: the bytes of a target step divided by those of a draft step.
        gain: the estimate.
    """

    target: str
    draft: str
    n_common: int
    ratio: float
    gain: Gain


@dataclass(frozen=True)
class Assumptions:
    """The basis of the estimates.

    Attributes:
        machine: a name in `simulation.MACHINES`.
        alpha: the typical acceptance rate: the share of positions at which the draft is right.
        alpha_low: a low acceptance rate.
        alpha_high: a high acceptance rate.
    """

    machine: str
    alpha: float
    alpha_low: float
    alpha_high: float


@dataclass(frozen=True)
class Catalog:
    """The models on this machine, and the pairs among them.

    Attributes:
        assumptions: the basis of the estimates.
        places: the folders that were searched.
        models: the models, in the order of the places.
        others: GGUF files that are no models.
        unusable: files and folders that cannot be read or used.
        pairs: for each target in the order of ``models``, the drafts that fit, the largest expected
            gain first.
        memory_available: free main memory in bytes. ``None``: not known.
        format: version of this format. Later versions of the same format only add fields.
    """

    assumptions: Assumptions
    places: list[FoundPlace] = field(default_factory=list)
    models: list[LocalModel] = field(default_factory=list)
    others: list[OtherFile] = field(default_factory=list)
    unusable: list[UnusableFile] = field(default_factory=list)
    pairs: list[LocalPair] = field(default_factory=list)
    memory_available: int | None = None
    format: str = FORMAT

    def drafts_for(self, model: LocalModel) -> list[LocalPair]:
        """The pairs with this target, the largest expected gain first."""
        return [pair for pair in self.pairs if pair.target == model.path]
