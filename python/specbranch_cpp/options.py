"""What an engine and a generation may be told, as objects.

    from specbranch_cpp import Engine, Model, Sampling, Speculation

    engine = Engine(
        Model("target.gguf", n_ctx=8192, n_gpu_layers=-1, devices=["CUDA0"]),
        Model("draft.gguf", devices=["CUDA1"]),
        speculation=Speculation(mode="specbranch", k_max=8),
    )
    creative = Sampling(temperature=0.8, top_p=0.95)
    engine.generate("Once", sampling=creative, max_tokens=64)
    engine.generate("Twice", sampling=dataclasses.replace(creative, seed=1))

The same can be said with keywords: ``Engine("target.gguf", "draft.gguf", n_ctx=8192,
draft_devices=["CUDA1"], k_max=8)`` and ``engine.generate("Once", temperature=0.8)``. An object says
all of its subject: a keyword beside an object that has a field of that name is an error, whatever
its value.

The objects are only descriptions: they open no file and check nothing. `Engine` and
`Engine.generate` check them.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from specbranch_cpp import policies

__all__ = ["Model", "Sampling", "Speculation"]


@dataclass(frozen=True)
class Model:
    """A model's file, and how llama.cpp loads and runs it; the target or the draft of an `Engine`.

    Fields have llama-cpp-python's names where it has them. None means: for a target, the default
    that the field names; for a draft, the target's value, except for ``n_threads``,
    ``n_threads_batch`` and ``cpus``, which each model has for itself.
    """

    path: str | os.PathLike[str]
    """The GGUF file."""

    _: KW_ONLY

    n_ctx: int | None = None
    """Tokens that the prompt and the text may have together; 0: as many as the model was trained
    with. Default 4096. The KV cache is allocated for all of them at once, and the draft's needs
    room for its branches besides."""

    n_batch: int | None = None
    """Tokens of one call of llama.cpp at most. Default 512."""

    n_ubatch: int | None = None
    """Tokens of one forward pass at most. Default 512. More of them read long prompts faster on a
    GPU and need larger buffers."""

    flash_attn: bool | None = None
    """Use flash attention. Default True. Without it, the logits depend on where in the cache a text
    lies, so that two modes may choose different tokens at a near-tie; a quantized V cache is
    impossible."""

    type_k: int | str | None = None
    """Type of the K cache: ggml's number, or a name such as ``"q8_0"``. Default ``"f16"``. A
    quantized cache is smaller and less exact."""

    type_v: int | str | None = None
    """Type of the V cache, likewise. Other types than ``"f16"`` need flash attention."""

    n_gpu_layers: int | None = None
    """Layers that are put on GPUs; -1: all. Default 0: the model runs on the CPU."""

    main_gpu: int | None = None
    """Number of the GPU that holds everything if ``split_mode`` is 0. Default 0."""

    devices: Sequence[str] | None = None
    """ggml's names (``"CUDA0"``) of the devices to use. Default: all GPUs. A target and a draft on
    devices of their own do not slow each other down."""

    split_mode: int | None = None
    """How layers are put on several GPUs. 0: all on one; 1: layer by layer; 2: by rows; 3: by
    tensors. Default 1."""

    tensor_split: Sequence[float] | None = None
    """Share of the model on each GPU. Default: by their free memory."""

    n_threads: int | None = None
    """CPU threads. Default: a quarter of the cores and at least one for the draft, the others for
    the target; one for a model that is on GPUs altogether (``n_gpu_layers=-1``). Both models run at
    the same time, so more threads than cores slow both down by factors."""

    n_threads_batch: int | None = None
    """CPU threads for more than one token at once. Default: as ``n_threads``."""

    cpus: Sequence[int] | None = None
    """Numbers of the CPUs that the model's threads are pinned to. Default: any. With CPUs of its
    own, a model gets one thread for each of them by default."""

    offload_kqv: bool | None = None
    """Keep the KV cache on the GPU of its layer. Default True."""

    use_mmap: bool | None = None
    """Map the file instead of reading it. Default True: pages are read when they are first used,
    and shared with other processes."""

    use_mlock: bool | None = None
    """Keep the weights from being swapped out. Default False."""

    check_tensors: bool | None = None
    """Refuse weights that are NaN or infinite. Default True. Costs one pass over the file."""

    use_extra_bufts: bool | None = None
    """Let llama.cpp repack weights for this CPU. Default True: steps are faster, and the repacked
    weights are copies instead of mapped pages."""


@dataclass(frozen=True)
class Speculation:
    """How a text is speculated, which changes its speed but never its tokens.

    An engine's is the default of its generations: a field that is None in `Engine.generate` takes
    the engine's value.
    """

    mode: str | None = None
    """``"autoregressive"``: the target alone. ``"speculative"``: the draft proposes a chain, then
    the target verifies it. ``"pearl"``: the draft goes on while the target verifies.
    ``"specbranch"``: it goes on along several branches. ``"auto"``: whatever is fastest by measured
    costs and acceptance. Default ``"auto"``; ``"specbranch"`` with a ``policy``, and
    ``"autoregressive"`` without a draft."""

    policy: policies.BuiltIn | policies.Policy | None = None
    """When the draft stops or branches: one of `specbranch_cpp.policies`, or an object of your own
    (`policies.Policy`). Default ``policies.Confidence()``. ``"auto"`` decides by itself and takes
    none."""

    k_max: int | None = None
    """Branches at most, 1 to 32. Default 4. An engine's KV cache has room for so many, and its
    generations can ask for no more."""

    max_draft: int | None = None
    """Tokens drafted ahead at most, 1 to 64. Default 16 in ``"auto"``, which finds how far drafting
    pays, and 8 in the other modes. The KV cache has room for them, too."""


@dataclass(frozen=True)
class Sampling:
    """How each token is chosen from the target's logits. The same in every mode.

    The logits pass penalties, bias and grammar, then truncation (``top_k``, ``top_p``, ``min_p``)
    and temperature.
    """

    temperature: float = 0.0
    """0: the most probable token; 1: the model's own distribution."""

    top_k: int = 0
    """Keep the k most probable tokens; 0 or -1: all."""

    top_p: float = 1.0
    """Keep the most probable tokens that together have this probability; 1: all."""

    min_p: float = 0.0
    """Drop tokens that are less probable than this share of the best one's probability; 0: none."""

    repeat_penalty: float = 1.0
    """Divide the logits of the last 64 tokens by this, the prompt's included; 1: off."""

    presence_penalty: float = 0.0
    """Subtract this from the logit of each of these tokens; 0: off."""

    frequency_penalty: float = 0.0
    """Subtract this for every time that such a token occurs; 0: off."""

    logit_bias: Mapping[int, float] | None = None
    """Added to the logits of single tokens, by their ids; ``-inf`` forbids a token."""

    grammar: str | None = None
    """GBNF with a rule ``root`` that the text must follow. Costs a check of each chosen token, and
    one of the whole vocabulary where the grammar refuses it."""

    seed: int | None = None
    """Key of the choice at temperatures above 0, 0 to 2**64 - 1. The same seed, prompt and settings
    give the same text. None: a new one for each text, which `GenerationStats.seed` tells."""
