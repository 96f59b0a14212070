"""Grows a small GGUF file into a larger model that computes the same function.

`scaled_model` plans the model from the shape of its source and the requested shape. The tensors are
computed on demand: when an engine loads the model (`in_memory`), or when `benchmarks/scaling`
writes a file.

How the function is kept
------------------------
Deeper
    Extra blocks are spread among the real blocks. The output projections of extra blocks are zero,
    so these blocks add nothing to the residual stream.
Wider (n_embd from d to D)
    The residual stream is padded with zeros. Every tensor that writes to the stream gets zero rows;
    a tensor that reads the stream may have any values in the added columns. RMSNorm now averages
    over D values instead of d values, so its weights are multiplied by sqrt(d/D) and its epsilon by
    d/D.
More heads, more feed-forward rows
    Zero columns of the output projection multiply the values that added heads and rows write. Every
    real query head still reads its own key-value head. If the groups of the new shape are smaller
    than the old groups, key-value heads are duplicated.
Larger heads (from h to H values)
    The added values of a key are zero. Zero columns of the output projection multiply the added
    values that the value heads gather. Rotary pair i turns by base^(-2i/h) per position, so the
    base becomes base^(H/h): the old pairs keep their angles, and no `rope_freqs` are needed.
    llama.cpp divides the scores of attention by sqrt(H), because it reads no `attention.scale` for
    this architecture. So `rope.scaling.attn_factor`, which multiplies rotated queries and keys, is
    multiplied by (H/h)^(1/4). The weights do not change, in any type.
Short convolutions (LFM2; from d to D channels)
    A channel is a value of the block's own width, which equals that of the residual stream. Zero
    columns of the output projection multiply the added channels. An extra block has the kind of
    the real block before it, so the share of the blocks with attention stays about the same.

LFM2 normalizes queries and keys over a head, so its heads cannot grow. llama.cpp has one epsilon
for all norms, so a wider LFM2 has the smaller epsilon there, too. This changes queries and keys by
a few millionths.

Weights without an effect are filled with blocks that are drawn at random from the same tensor of
the source. Such blocks need no quantizer, so every weight type of GGUF can be scaled, and the
numbers have natural magnitudes.

gguf writes another weight type (`weight_type`); llama.cpp writes the types that gguf cannot write.
Only the rows of the source go through the quantizer; added rows are composed of blocks in the new
type.

How equal the logits are
------------------------
`ScaleResult.equality` gives for each file one of three results. The logits are equal to the last
bit (same kernels, same batches, one thread) if

* the weight type and the size of a head stay, and so does n_embd of LFM2;
* n_embd is unchanged or grows by a power of 4, because sqrt(d/D) is then a power of 2. Any other
  factor rounds the norm weights, and the logits are equal only up to rounding: the activations
  differ in their last bit or two, which 8-bit quantization of the activations often hides, but not
  always;
* query heads stay side by side, i.e. the number of heads per key-value head stays the same or is
  divided, so that zeros are only appended to a dot product;
* the lengths of dot products with appended zeros are multiples of 64 (whole SIMD steps), and the
  rows of every enlarged matrix are multiples of 16 (so llama.cpp picks the same kernel).

In other cases the logits are equal up to rounding: larger heads round the keys in the 16-bit KV
cache differently, and a type that keeps the source's numbers unchanged runs in other kernels. The
logits are changed by quantization if a converted weight changed; `ScaleResult.weight_change` gives
the size of the change.
"""
