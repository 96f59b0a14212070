"""The architectures of the matrix: what their metadata say."""

from __future__ import annotations

from tests.python.matrix.architecture import (
    ALTERNATE,
    ALTERNATING_WINDOW,
    DELTA_NET,
    EXPERTS,
    FOUR,
    GROUPED_STATE,
    HYPER_CONNECTIONS,
    INDEXER,
    LEADING,
    MIXED,
    MLA,
    RWKV,
    SECTIONS,
    STATE,
    WINDOW,
    Architecture,
)

A = Architecture

ARCHITECTURES: tuple[Architecture, ...] = (
    # Attention over everything, a dense feed-forward network.
    A("llama", "dense", default=True),
    A("llama", "tied output", left_out=("^output.weight",), variant="tied"),
    A("qwen", "dense"),
    A("qwen2", "dense, biases"),
    A("qwen3", "dense, normed heads"),
    A("phi2", "parallel blocks, partial rotation", {"rope.dimension_count": 16}),
    A("phi3", "fused projections"),
    A("gpt2", "learned positions", default=True),
    A("gptneox", "parallel blocks", {"use_parallel_residual": True}),
    A("falcon", "one key head"),
    A("bloom", "ALiBi", {"attention.head_count_kv": 2}),
    A("mpt", "ALiBi", {"attention.max_alibi_bias": 8.0, "attention.head_count_kv": 2}),
    A("baichuan", "dense", {"attention.head_count_kv": 2}),
    A("starcoder", "learned positions"),
    A("starcoder2", "dense"),
    A("codeshell", "dense"),
    A("refact", "ALiBi"),
    A("stablelm", "partial rotation", {"use_parallel_residual": False, "rope.dimension_count": 16}),
    A("internlm2", "dense"),
    A("minicpm", "scaled residuals"),
    A("minicpm3", "MLA", MLA | {"attention.head_count_kv": 2}),
    A("gemma", "tied output"),
    A("mistral3", "dense"),
    A("smollm3", "some layers without positions", FOUR),
    A("orion", "dense"),
    A("xverse", "dense"),
    A("command-r", "scaled logits", {"logit_scale": 0.5}),
    A("olmo", "norms without weights", {"attention.clamp_kqv": 8.0}),
    A("olmo2", "norms after blocks"),
    A("olmo2", "sliding window", FOUR | {"attention.sliding_window": WINDOW}, variant="window"),
    A("openelm", "heads per layer"),
    A("chatglm", "partial rotation", {"rope.dimension_count": 16}),
    A("glm4", "partial rotation", {"rope.dimension_count": 16}),
    A("bitnet", "ternary layout"),
    A("jais", "ALiBi", {"attention.max_alibi_bias": 8.0, "attention.head_count_kv": 2}),
    A("jais2", "dense", {"attention.head_count_kv": 2}),
    A("nemotron", "dense"),
    A("exaone", "dense"),
    A("exaone4", "norms after blocks"),
    A(
        "granite",
        "scales",
        {"residual_scale": 0.5, "embedding_scale": 2.0, "logit_scale": 2.0, "attention.scale": 0.2},
    ),
    A("plamo", "parallel blocks", {"attention.head_count": 2}),
    A(
        "plm",
        "MLA, not compressed in the cache",
        {
            "attention.head_count_kv": 2,
            "attention.key_length": 48,
            "attention.value_length": 32,
            "attention.kv_lora_rank": 32,
            "rope.dimension_count": 32,
        },
        flash_attn=False,
    ),
    A("arcee", "dense"),
    A("ernie4_5", "dense"),
    A("hunyuan-dense", "dense"),
    A("seed_oss", "dense"),
    A(
        "apertus",
        "xIELU",
        {
            "xielu.alpha_n": [0.8, 0.8],
            "xielu.alpha_p": [0.8, 0.8],
            "xielu.beta": [0.5, 0.5],
            "xielu.eps": [1e-6, 1e-6],
        },
    ),
    A("pangu-embedded", "dense"),
    A("maincoder", "dense"),
    A("deci", "dense"),
    A("nanbeige", "dense"),
    A(
        "hrm_text",
        "loops",
        {"block_count": 6, "hrm.layers_per_stack": 1, "hrm.h_cycles": 2, "hrm.l_cycles": 2},
    ),
    # Experts.
    A("llama", "experts", EXPERTS, variant="moe", default=True),
    A("qwen2moe", "experts, a shared one", EXPERTS),
    A("qwen3moe", "experts", EXPERTS),
    A("phimoe", "experts", EXPERTS),
    A("olmoe", "experts", EXPERTS | {"attention.head_count_kv": 2}),
    A("dbrx", "experts", EXPERTS | {"attention.clamp_kqv": 8.0}),
    A(
        "grok",
        "experts, softcaps",
        EXPERTS | {"attn_logit_softcapping": 30.0, "final_logit_softcapping": 30.0},
        flash_attn=False,
    ),
    A("arctic", "experts beside a dense network", EXPERTS),
    A("deepseek", "experts", EXPERTS | LEADING),
    A("granitemoe", "experts", EXPERTS | {"logit_scale": 2.0}),
    A("glm4moe", "experts", EXPERTS | LEADING),
    A("bailingmoe", "experts", EXPERTS | LEADING),
    A("bailingmoe2", "experts", EXPERTS | LEADING | {"expert_gating_func": 2}),
    A(
        "dots1",
        "experts",
        EXPERTS | LEADING | {"attention.head_count_kv": 2, "expert_gating_func": 2},
    ),
    A("ernie4_5-moe", "experts", EXPERTS | LEADING | {"interleave_moe_layer_step": 1}),
    A("hunyuan-moe", "experts", EXPERTS),
    A(
        "grovemoe",
        "experts in groups",
        EXPERTS
        | {
            "expert_chunk_feed_forward_length": 24,
            "expert_group_scale": 0.5,
            "experts_per_group": 2,
        },
    ),
    A("minimax-m2", "experts", EXPERTS | {"expert_gating_func": 2}),
    A(
        "smallthinker",
        "experts, sliding window",
        EXPERTS | FOUR | {"attention.sliding_window": WINDOW, "expert_gating_func": 2},
    ),
    A(
        "exaone-moe",
        "experts, sliding window",
        EXPERTS | LEADING | FOUR | {"attention.sliding_window": WINDOW, "expert_gating_func": 2},
    ),
    # A compressed cache.
    A("deepseek2", "MLA, experts", EXPERTS | LEADING | MLA, default=True),
    A("mistral4", "MLA, experts", EXPERTS | LEADING | MLA),
    # Sliding windows.
    A(
        "gemma2",
        "sliding window, softcaps",
        ALTERNATE | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    A(
        "gemma3",
        "sliding window",
        {"block_count": 6, "attention.sliding_window": WINDOW},
        default=True,
    ),
    A(
        "gemma3n",
        "sliding window, shared caches",
        {"block_count": 22, "attention.sliding_window": WINDOW},
        # Its 22 blocks would magnify each other's rounding until texts are chaotic.
        ranges=((r"altup_\w+_coef", 0.0, 0.05), (r"attn_[qk]_norm", 0.4, 0.05)),
    ),
    A(
        "gemma4",
        "sliding window",
        {
            "block_count": 4,
            "attention.sliding_window": WINDOW,
            "attention.sliding_window_pattern": [True, False, True, False],
            "attention.key_length_swa": 32,
            "attention.value_length_swa": 32,
            "embedding_length_per_layer_input": 16,
        },
    ),
    A("gpt-oss", "sliding window, experts, sinks", EXPERTS | ALTERNATE, default=True),
    A(
        "cohere2",
        "sliding window",
        FOUR | {"attention.sliding_window": WINDOW, "logit_scale": 0.5, "rope.dimension_count": 32},
    ),
    A(
        "cohere2moe",
        "sliding window, experts",
        EXPERTS | FOUR | LEADING | {"attention.sliding_window": WINDOW, "logit_scale": 0.5},
    ),
    A("phi3", "sliding window", {"attention.sliding_window": WINDOW}, variant="window"),
    A("exaone4", "sliding window", FOUR | {"attention.sliding_window": WINDOW}, variant="window"),
    A(
        "plamo3",
        "sliding window",
        FOUR | {"attention.sliding_window": WINDOW, "attention.sliding_window_pattern": 2},
    ),
    A(
        "afmoe",
        "sliding window, experts",
        EXPERTS | LEADING | FOUR | {"attention.sliding_window": WINDOW, "expert_gating_func": 2},
    ),
    A(
        "mimo2",
        "sliding window, experts",
        EXPERTS
        | {
            "attention.sliding_window": WINDOW,
            "attention.sliding_window_pattern": [True, False],
            "expert_gating_func": 2,
        },
    ),
    A(
        "step35",
        "sliding window, experts",
        EXPERTS
        | LEADING
        | {
            "attention.sliding_window": WINDOW,
            "attention.sliding_window_pattern": [True, False],
            "expert_gating_func": 2,
        },
    ),
    A(
        "granite_swa",
        "sliding window",
        {
            "attention.sliding_window": WINDOW,
            "attention.sliding_window_pattern": [True, False],
            "logit_scale": 2.0,
            "residual_scale": 0.5,
            "embedding_scale": 2.0,
            "attention.scale": 0.2,
        },
    ),
    A(
        "mellum",
        "sliding window, experts",
        EXPERTS
        | FOUR
        | {
            "attention.sliding_window": WINDOW,
            "attention.sliding_window_pattern": [True, False, True, False],
        },
    ),
    A(
        "llama4",
        "chunks, experts",
        EXPERTS | FOUR | {"interleave_moe_layer_step": 2, "attention.chunk_size": WINDOW},
        default=True,
    ),
    # Positions of several dimensions.
    A("qwen2vl", "M-RoPE", SECTIONS, default=True),
    A("qwen3vl", "M-RoPE", SECTIONS),
    A("qwen3vlmoe", "M-RoPE, experts", SECTIONS | EXPERTS),
    A("hunyuan_vl", "M-RoPE", SECTIONS),
    A("paddleocr", "M-RoPE", SECTIONS),
    # Recurrent.
    A(
        "mamba",
        "recurrent",
        STATE | {"attention.head_count": 0, "feed_forward_length": 0},
        default=True,
    ),
    A("mamba2", "recurrent", GROUPED_STATE | {"attention.head_count": 0, "feed_forward_length": 0}),
    A(
        "rwkv6",
        "recurrent",
        RWKV | {"attention.head_count": 0, "attention.head_count_kv": 0},
        default=True,
    ),
    A("rwkv7", "recurrent", RWKV | {"attention.head_count": 0, "attention.head_count_kv": 0}),
    A(
        "rwkv6qwen2",
        "recurrent",
        RWKV | {"token_shift_count": 1},
        left_out=("time_mix_first",),
        several=False,
    ),
    A("arwkv7", "recurrent", RWKV | {"token_shift_count": 1}, several=False),
    # Recurrent states and attention.
    A("jamba", "hybrid", STATE | MIXED),
    A("jamba", "hybrid, experts", STATE | MIXED | EXPERTS, variant="moe"),
    A("granitehybrid", "hybrid", GROUPED_STATE | MIXED | {"logit_scale": 2.0}, default=True),
    A("falcon-h1", "attention and a state in every block", GROUPED_STATE),
    A(
        "nemotron_h",
        "hybrid",
        GROUPED_STATE
        | MIXED
        | {
            "block_count": 3,
            "attention.head_count_kv": [0, 1, 0],
            "feed_forward_length": [0, 0, 96],
        },
    ),
    A(
        "nemotron_h_moe",
        "hybrid, experts",
        EXPERTS
        | GROUPED_STATE
        | MIXED
        | {
            "block_count": 3,
            "attention.head_count_kv": [0, 1, 0],
            "feed_forward_length": [0, 0, 96],
        },
    ),
    A("qwen3next", "hybrid, experts", DELTA_NET | EXPERTS),
    A("qwen35", "hybrid, M-RoPE", DELTA_NET | SECTIONS, default=True),
    A("qwen35moe", "hybrid, M-RoPE, experts", DELTA_NET | SECTIONS | EXPERTS),
    A(
        "kimi-linear",
        "hybrid, MLA, experts",
        EXPERTS
        | LEADING
        | MIXED
        | MLA
        | {
            "attention.head_count_kv": [0, 1, 0, 1],
            "ssm.conv_kernel": 4,
            "kda.head_dim": 32,
            "expert_gating_func": 2,
        },
    ),
    A("plamo2", "hybrid", STATE | MIXED | {"ssm.group_count": 0}, drafts=False, several=False),
    A("lfm2", "hybrid, short convolutions", MIXED | {"shortconv.l_cache": 3}, default=True),
    A(
        "lfm2moe",
        "hybrid, short convolutions, experts",
        MIXED
        | EXPERTS
        | {"shortconv.l_cache": 3, "leading_dense_block_count": 1, "expert_gating_func": 2},
    ),
    A(
        "minimax-01",
        "hybrid, experts",
        EXPERTS | FOUR | {"residual_scale": 1.5, "full_attention_interval": 2},
    ),
    A(
        "bailingmoe3",
        "hybrid, MLA, experts",
        EXPERTS
        | LEADING
        | MIXED
        | MLA
        | SECTIONS
        | {
            "attention.head_count_kv": [0, 1, 0, 1],
            "ssm.conv_kernel": 4,
            "kda.head_dim": 32,
            "kda.gate_lower_bound": -5.0,
            "expert_gating_func": 2,
        },
    ),
    # Sparse attention, hyper-connections, and what else is new.
    A("talkie", "scaled logits", {"logit_scale": 1.0, "attention.head_count_kv": 2}),
    A("spark2_5", "sliding window", ALTERNATING_WINDOW),
    A("muse-glimmer", "sliding window", ALTERNATING_WINDOW | {"logit_scale": 0.5}),
    A("maple", "sliding window, experts", EXPERTS | ALTERNATING_WINDOW | {"swiglu_clamp_exp": 7.0}),
    A(
        "laguna",
        "experts, sliding window",
        EXPERTS | LEADING | FOUR | {"attention.sliding_window": WINDOW, "expert_gating_func": 2},
    ),
    A("hy_v3", "experts", EXPERTS | LEADING | {"expert_gating_func": 2}),
    A("cogvlm", "dense"),
    A("deepseek2-ocr", "experts", EXPERTS | LEADING | {"attention.head_count_kv": 2}),
    A(
        "deepseek32",
        "MLA, sparse attention, experts",
        EXPERTS | LEADING | MLA | INDEXER | {"expert_gating_func": 2},
    ),
    A(
        "glm-dsa",
        "MLA, sparse attention, experts",
        EXPERTS | LEADING | MLA | INDEXER | {"expert_gating_func": 2},
    ),
    A(
        "minimax-m3",
        "sparse attention, experts",
        EXPERTS
        | LEADING
        | INDEXER
        | {
            "attention.indexer.head_count": 1,
            "attention.indexer.block_size": 4,
            "attention.indexer.local_blocks": 1,
            "expert_gating_func": 2,
            "rope.dimension_count": 32,
        },
    ),
    A(
        "kimi-k3",
        "hybrid, MLA, experts",
        EXPERTS
        | LEADING
        | MIXED
        | MLA
        | {
            "attention.head_count_kv": [0, 1, 0, 1],
            "ssm.conv_kernel": 4,
            "kda.head_dim": 32,
            "kda.gate_lower_bound": -5.0,
            "expert_gating_func": 2,
            "expert_latent_length": 32,
            "attn_res.block_size": 12,
            "activation.situ_beta": 4.0,
            "activation.situ_linear_beta": 20.0,
        },
    ),
    A(
        "deepseek4",
        "compressed attention, experts",
        EXPERTS
        | LEADING
        | FOUR
        | {
            "attention.sliding_window": WINDOW,
            "attention.q_lora_rank": 32,
            "attention.key_length": 64,
            "attention.value_length": 64,
            "rope.dimension_count": 32,
            "expert_weights_scale": 1.0,
            "expert_weights_norm": True,
            "expert_gating_func": 4,
            "swiglu_clamp_exp": 10.0,
            "attention.indexer.head_count": 2,
            "attention.indexer.key_length": 64,
            "attention.indexer.top_k": 512,
            "attention.output_group_count": 2,
            "attention.output_lora_rank": 16,
            "attention.compress_rope_freq_base": 40000.0,
            "hyper_connection.count": 4,
            "hyper_connection.sinkhorn_iterations": 2,
            "hyper_connection.epsilon": 1e-6,
            "hash_layer_count": 0,
            "attention.compress_ratios": [0, 0, 4, 128],
        },
        default=True,
    ),
    A(
        "glm5-next",
        "hybrid, MLA, pooled sparse attention, experts",
        EXPERTS
        | LEADING
        | MIXED
        | MLA
        | INDEXER
        | HYPER_CONNECTIONS
        | {
            "attention.head_count_kv": [0, 1, 0, 1],
            "attention.key_length": 32,
            "rope.dimension_count": 0,
            "ssm.conv_kernel": 4,
            "kda.head_dim": 32,
            "kda.gate_lower_bound": -5.0,
            "attention.indexer.kpool": 4,
            "attention.indexer.kpool_select_tail": True,
        },
    ),
    A(
        "qwen4exp",
        "hybrid, sparse attention, hashed n-grams, experts",
        EXPERTS
        | DELTA_NET
        | SECTIONS
        | INDEXER
        | HYPER_CONNECTIONS
        | {
            "hyper_connection.low_rank": 8,
            "attention.compress_ratios": [4, 4, 4, 4],
            "embedding_length_per_layer_input": 16,
            "ple.layers": [0],
            "ple.ngram_size": 3,
            "ple.heads_per_ngram": 2,
            "ple.conv_kernel": 4,
            "ple.eos_token_id": 0,
            "ple.layer_multipliers": (1, 7, 11),
            "ple.head_offsets": (0, 273, 546, 819),
            "ple.head_vocab_sizes": (273, 273, 273, 273),
        },
    ),
)
