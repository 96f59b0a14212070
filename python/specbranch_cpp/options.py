"""Options of an engine and of a generation, as objects.

    from specbranch_cpp import Engine, Model, Sampling, Speculation

    engine = Engine(
        Model("target.gguf", n_ctx=8192, n_gpu_layers=-1, devices=["CUDA0"]),
        Model("draft.gguf", devices=["CUDA1"]),
        speculation=Speculation(mode="specbranch", max_branches=8),
    )
    creative = Sampling(temperature=0.8, top_p=0.95)
    engine.generate("Once", sampling=creative, max_tokens=64)
    engine.generate("Twice", sampling=dataclasses.replace(creative, seed=1))

Keywords give the same options: ``Engine("target.gguf", "draft.gguf", n_ctx=8192,
draft_devices=["CUDA1"], max_branches=8)`` and ``engine.generate("Once", temperature=0.8)``. A
keyword beside an object with a field of that name is an error, even if both values are equal.

The objects only describe: they open no file and check no value. `Engine` and `Engine.generate`
check them.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from specbranch_cpp import policies
    from specbranch_cpp.grammars import JsonSchema, Lark, Regex

__all__ = ["DRY_BREAKERS", "SAMPLERS", "Model", "Sampling", "Speculation"]


@dataclass(frozen=True)
class Model:
    """A model's file, and how llama.cpp loads and runs it; the target or the draft of an `Engine`.

    Fields have the names of llama-cpp-python if it has the option. For a target, ``None`` means the
    default that the field names. For a draft, ``None`` means the value of the target, except for
    ``n_gpu_layers``, ``n_threads``, ``n_threads_batch`` and ``cpus``, for which each model has its
    own default.
    """

    path: str | os.PathLike[str]
    """Path of the GGUF file."""

    _: KW_ONLY

    n_ctx: int | None = None
    """The largest number of tokens of prompt and text together; 0: the length that the model was
    trained with. Default 4096. The KV cache is allocated for all of these tokens at once. The KV
    cache of the draft also needs room for its branches. The default of a draft is the value of the
    target, or the length that the draft was trained with if that is less. A draft with a shorter
    context than the text reads the end of the text: a quarter to half of its context, and what
    follows until it is full."""

    n_ctx_total: int | None = None
    """The largest number of tokens of all generations at once (``n_parallel``), at least ``n_ctx``.
    Default 0: every generation has room for ``n_ctx`` tokens. With fewer, the KV cache is smaller,
    and a generation begins when there is room for its prompt and ``max_tokens``, so that it can
    always end. A generation without ``max_tokens`` needs ``n_ctx``."""

    cache_ram: int | None = None
    """MiB of main memory for the KV cells of texts that have ended, and whose sequence another text
    takes. A prompt that begins like such a text goes on from the copy. Default: as much as the KV
    cache takes, at least 256 and at most 8192, less if main memory is short. There are no copies
    without ``flash_attn``, with layers on other hosts, or, with sliding windows, for a target with
    ``swa_full=True`` and ``prefix_reuse="exact"``. 0: no copies, so that one text per sequence
    stays in the KV cache. -1: no limit. (llama-server's ``--cache-ram``.)"""

    n_batch: int | None = None
    """The largest number of tokens in one call of llama.cpp. Default 512."""

    n_ubatch: int | None = None
    """The largest number of tokens in one forward pass. Default 512. A larger number reads long
    prompts faster on a GPU, and needs larger buffers."""

    flash_attn: bool | None = None
    """Whether to use flash attention. Without it, a quantized V cache is impossible, and the logits
    depend on the position of the text in the KV cache, so texts of two modes can diverge at
    near-ties. ``None`` (default): yes, except for a model with layers on GPUs that have no kernel
    for its heads or its cache types; llama.cpp's log says so."""

    type_k: int | str | None = None
    """Type of the K cache: ggml's number, or a name such as ``"q8_0"``. Default ``"f16"``. A
    quantized KV cache is smaller and less exact."""

    type_v: int | str | None = None
    """Type of the V cache: ggml's number, or a name. Default ``"f16"``. A quantized type needs
    flash attention."""

    n_gpu_layers: int | None = None
    """Number of layers on GPUs; -1: all layers; 0: the model runs on the CPU. Default: as many
    layers as fit into the free memory of the GPUs, the target's first, then the draft's, with their
    KV caches. Layers that are asked for and do not fit are refused before loading. If the target
    has 0, the draft's default is 0, too. With ``split_mode`` 2 or 3, a machine with GPUs needs a
    number."""

    main_gpu: int | None = None
    """Number of the GPU to use if ``split_mode`` is 0. Default 0."""

    devices: Sequence[str] | None = None
    """ggml's names of the devices to use, such as ``"CUDA0"``. With ``"CPU"`` alone no layer is on
    a GPU, whatever ``n_gpu_layers`` is. Default: one GPU if the model fits
    there, else all; a draft gets a GPU without the target if there is one, since models on one GPU
    slow each other down. A draft whose devices are not given has those that are given for the
    target."""

    split_mode: int | None = None
    """How to split the model over GPUs: 0: not at all, 1: by layers, 2: by rows, 3: by tensors.
    Default 1."""

    tensor_split: Sequence[float] | None = None
    """Share of the model on each GPU. Default: shares by free memory, without full GPUs."""

    n_threads: int | None = None
    """Number of CPU threads for a single token. Default: the draft gets a quarter of the cores, at
    least one; the target gets the other cores, or all of them without a draft. A model with all
    layers and their caches on GPUs gets one thread.
    Both models run at the same time, so more threads than cores are several times slower."""

    n_threads_batch: int | None = None
    """Number of CPU threads for several tokens. Default: the value of ``n_threads``."""

    cpus: Sequence[int] | None = None
    """Numbers of the CPUs to which the model's threads are pinned. Default: any CPU. A model with
    this option gets one thread for each of these CPUs by default."""

    offload_kqv: bool | None = None
    """Whether to keep the KV cache of a layer on the GPU of that layer. Default True."""

    swa_full: bool | None = None
    """Whether layers with a sliding window keep the KV cells of the whole text. Default True. With
    False, such a layer keeps about one window of cells, so a long context needs much less memory.
    The logits can then differ by rounding, so texts of two modes can diverge at near-ties, and
    ``bit_exact`` is refused. A later prompt reuses the prefix up to one of two places that the
    engine saves for each prompt. Only for the target: the branches of a draft share cells."""

    use_mmap: bool | None = None
    """Whether to map the file instead of reading it. Default True: pages are read at their first
    use, and other processes share them."""

    use_mlock: bool | None = None
    """Whether to lock the weights in memory, so that the system cannot swap them out. Default
    False."""

    check_tensors: bool | None = None
    """Whether to refuse weights that are NaN or infinite. Default True. The check reads the whole
    file once."""

    use_extra_bufts: bool | None = None
    """Whether llama.cpp may repack weights for this CPU. Default True: steps are faster, and the
    repacked weights are copies instead of mapped pages."""


@dataclass(frozen=True)
class Speculation:
    """How to speculate. Speculation changes the speed of a text, but never its tokens.

    The options of an engine are the defaults of its generations: a field that is ``None`` in
    `Engine.generate` gets the value of the engine.
    """

    mode: str | None = None
    """``"autoregressive"``: the target decodes alone. ``"speculative"``: the draft proposes a chain
    of tokens, then the target verifies it. ``"pearl"``: the draft continues while the target
    verifies. ``"specbranch"``: the draft continues along several branches. ``"auto"`` chooses the
    fastest way to decode from step costs and the acceptance rate. Without a draft model texts
    propose tokens in ``"auto"`` and ``"speculative"`` (``lookup``). Default: ``"auto"``; with a
    ``policy`` ``"specbranch"``; without a draft and ``lookup`` ``"autoregressive"``."""

    policy: policies.BuiltIn | policies.Policy | None = None
    """The policy, which decides when the draft stops or branches: a policy of
    `specbranch_cpp.policies`, or your own object (`policies.Policy`). Default:
    ``policies.Confidence()``. Mode ``"auto"`` takes no policy."""

    max_branches: int | None = None
    """The largest number of branches, 1 to 32. Default 4. In ``"auto"``: the largest number of
    drafted choices after one token, at most 8. The KV cache of an engine has room for
    this number, so it is also the limit of its generations."""

    max_draft: int | None = None
    """The largest number of tokens to draft ahead, 1 to 64. Default 16 in mode ``"auto"``, which
    finds by itself how far drafting pays, and 8 in the other modes. The KV cache of an engine has
    room for this number, so it is also the limit of its generations. A generation in another mode
    than ``"auto"`` exceeds 8 tokens only with its own value."""

    lookup: bool | None = None
    """Whether texts propose tokens, in the mode ``"auto"``, and without a draft model also in
    ``"speculative"``: where the prompt or the answer so far repeats itself, where it repeats a text
    of the engine's ``corpus`` or an earlier answer, and along the ``prediction`` of a call. Default
    True. A generation of an engine with False cannot have True."""

    lookup_answers: bool | None = None
    """With ``lookup``, whether earlier answers of the engine propose tokens, and whether the answer
    is kept for later ones. Default True. The time of an answer then depends on earlier answers, so
    use False if several users share an engine and none may learn from the time what another was
    told. A generation of an engine with False cannot have True."""


SAMPLERS = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
    "infill", "adaptive_p",
)  # fmt: skip
"""The names for `Sampling.samplers`, in llama.cpp's order. ``"infill"`` acts only in a list."""

DRY_BREAKERS = ("\n", ":", '"', "*")
"""The default of `Sampling.dry_sequence_breakers`, as in llama.cpp."""


@dataclass(frozen=True)
class Sampling:
    """How to choose each token from the target's logits. The choice is the same in every mode.

    The bias changes the logits first. Then come the samplers of llama.cpp, in its order: penalties,
    DRY, top-n-sigma, top-k, typical-p, top-p, min-p, XTC, temperature and adaptive-p; ``samplers``
    sets another order. If a grammar forbids the chosen token, the samplers choose again among the
    tokens that it allows. Names and meanings of the fields are llama.cpp's. By default no sampler
    is on, and the temperature is 0.
    """

    temperature: float = 0.0
    """0: the most probable token; 1: the model's distribution."""

    _: KW_ONLY

    dynatemp_range: float = 0.0
    """Dynamic temperature: the temperature lies between ``temperature - dynatemp_range`` (at least
    0) and ``temperature + dynatemp_range``. It is high where many tokens have similar
    probabilities. 0: the temperature is fixed."""

    dynatemp_exponent: float = 1.0
    """Dynamic temperature: the exponent of the entropy (0 to 1), at least 0. A larger exponent
    gives lower temperatures."""

    top_k: int = 0
    """Keep the k most probable tokens; 0 or -1: keep all tokens."""

    top_p: float = 1.0
    """Keep the most probable tokens whose probabilities add up to this value; 1: keep all
    tokens."""

    min_p: float = 0.0
    """Drop tokens whose probability is less than this share of the highest probability; 0: drop no
    token."""

    typical_p: float = 1.0
    """Keep the tokens whose surprise is nearest to the average surprise (the entropy), until their
    probabilities add up to more than this value; 1: keep all tokens."""

    top_n_sigma: float = -1.0
    """Drop tokens whose logit is more than this number of standard deviations below the largest
    logit; 0 or less: drop no token."""

    min_keep: int = 0
    """The smallest number of tokens that ``top_p``, ``min_p``, ``typical_p`` and XTC leave."""

    xtc_probability: float = 0.0
    """XTC: the probability, 0 to 1, that XTC acts at a position. Where it acts, it drops all
    tokens above ``xtc_threshold`` except the least probable of them. 0: XTC is off."""

    xtc_threshold: float = 0.1
    """XTC: the probability above which a token counts as a top choice, 0 to 1. Above 0.5: XTC is
    off."""

    repeat_last_n: int = 64
    """The number of tokens at the end of the text, including the prompt, that the three penalties
    see; -1: the whole text; 0: the penalties are off."""

    repeat_penalty: float = 1.0
    """Divide the logits of the last ``repeat_last_n`` tokens by this value (multiply, if a logit is
    negative); 1: off."""

    presence_penalty: float = 0.0
    """Subtract this value from the logit of each token among the last ``repeat_last_n`` tokens; 0:
    off."""

    frequency_penalty: float = 0.0
    """Subtract this value from the logit of a token once for each occurrence among the last
    ``repeat_last_n`` tokens; 0: off."""

    dry_multiplier: float = 0.0
    """DRY: a penalty for tokens that would continue a sequence that the text already has. If the
    last n tokens of the text occurred before, the penalty of the token that followed them is
    ``dry_multiplier * dry_base ** (n - dry_allowed_length)``. 0: DRY is off."""

    dry_base: float = 1.75
    """DRY: the base of the penalty, at least 1."""

    dry_allowed_length: int = 2
    """DRY: shorter repetitions have no penalty."""

    dry_penalty_last_n: int = 64
    """DRY: the number of tokens at the end of the text, including the prompt, that DRY sees; -1:
    the whole text; 0: DRY is off."""

    dry_sequence_breakers: Sequence[str] = DRY_BREAKERS
    """DRY: texts across which no repetition is counted, at most 64 texts with 1 to 40 bytes each.
    The first text with new breakers takes longer to start, because each breaker is compared with
    the whole vocabulary."""

    mirostat_mode: int = 0
    """Mirostat, which keeps the surprise of the text near a target. 1 or 2: the version, which
    replaces all samplers except temperature, as in llama.cpp; 0: off."""

    mirostat_tau: float = 5.0
    """Mirostat: the target surprise in bits, at least 0."""

    mirostat_eta: float = 0.1
    """Mirostat: the learning rate, at least 0."""

    adaptive_target: float = -1.0
    """Adaptive-p: choose tokens whose probability is near this value, 0 to 1; the average over the
    chosen tokens moves to this value. Adaptive-p comes after all other samplers. A negative value:
    off."""

    adaptive_decay: float = 0.9
    """Adaptive-p: the weight of the earlier tokens in the average, 0 to 0.99."""

    samplers: Sequence[str] | None = None
    """The samplers that run, in this order: names such as ``"top_k"`` from `SAMPLERS`, or
    llama.cpp's other spellings (``"top-k"``, ``"temp"``). Samplers that are not in the list do not
    run, also if their fields are set. ``None`` (default): all of them, in llama.cpp's order."""

    logit_bias: Mapping[int, float] | None = None
    """Values to add to the logits of single tokens, by token id; ``-inf`` forbids a token."""

    grammar: str | Lark | Regex | JsonSchema | None = None
    """A rule that the text must follow: GBNF with a rule ``root``, or an object of
    `specbranch_cpp.grammars`. The rule costs a check of each chosen token, and a check of the whole
    vocabulary where it refuses the chosen token."""

    seed: int | None = None
    """Key of the random choice at temperatures above 0, 0 to 2**64 - 1. The same seed, prompt and
    settings give the same text. ``None`` (default): the engine draws a seed for each text, and
    `GenerationStats.seed` contains it."""
