"""Grow a small GGUF into a larger model that computes the same function.

A model is planned (`scaled_model`) from its source's shape and the wanted one; its tensors are
computed when they are asked for: by an engine that loads it (`in_memory`), or to be written to a
file (`benchmarks/scaling`).

How the function is kept
------------------------
Deeper
    Extra blocks are spread among the real ones. Their output projections are zero, so that they
    add nothing to the residual stream.
Wider (n_embd from d to D)
    The residual stream is padded with zeros: everything that writes to it gets zero rows, and what
    reads it may hold anything in the added columns. RMSNorm now averages over D values instead of
    d, so its weights are multiplied by sqrt(d/D) and its epsilon by d/D.
More heads, more feed-forward rows
    What they write is multiplied by zero columns of the output projection. Every real query head
    keeps reading its own key-value head; where the groups of the new shape are smaller than the
    old ones, key-value heads are duplicated.
Larger heads (from h to H values)
    The added values of a key are zero, and those that the value heads gather meet zero columns of
    the output projection. Rotary pair i turns by base^(-2i/h) a position, so the base becomes
    base^(H/h): the old pairs keep their angles, and no `rope_freqs` are needed. llama.cpp divides
    the scores of attention by sqrt(H) (it reads no `attention.scale` for this architecture), so
    `rope.scaling.attn_factor`, which multiplies rotated queries and keys, is multiplied by
    (H/h)^(1/4). The weights stay as they are, in any type.

Weights that cannot matter are filled with blocks drawn at random from the same tensor of the
source. That needs no quantizer, so every weight type GGUF knows can be scaled, and the numbers
have natural magnitudes.

Another weight type (`weight_type`) is written by gguf, or by llama.cpp what gguf cannot write. Only
the source's rows go through the quantizer; what is added is composed of blocks in the new type.

How equal the scores are
------------------------
`ScaleResult.equality` says for each file which of three holds. Equal to the last bit (same kernels,
same batches, one thread) are they if

* the weight type and the size of a head stay;
* n_embd is unchanged or grows by a power of 4, for then sqrt(d/D) is a power of 2. Any other
  factor rounds the norm weights, and scores are equal up to rounding only: the activations differ
  in their last bit or two, which 8-bit quantization of the activations often, not always, hides;
* query heads stay side by side, i.e. heads per key-value head stay the same or are divided, so
  that zeros are only ever appended to a dot product;
* the lengths that zeros are appended to are multiples of 64 (whole SIMD steps), and the rows of
  every enlarged matrix are multiples of 16 (the same kernel is picked).

Otherwise they are equal up to rounding: larger heads round the keys in the 16-bit cache otherwise,
and a type that holds the source's numbers unchanged runs in other kernels. Changed by quantization
are they if a converted weight changed; `ScaleResult.weight_change` says by how much.
"""
