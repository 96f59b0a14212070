"""The noise and the choice, on both sides."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "draft-noise-position",
        "the draft's noise is that of the position before",
        "simulation/fake_model.cpp",
        "request.n_skipped + static_cast<Pos>(cells.size()));",
        "request.n_skipped + static_cast<Pos>(cells.size()) - 1);",
    ),
    Mutation(
        "target-noise-position",
        "the target's noise is that of the position after",
        "simulation/fake_model.cpp",
        "const PositionNoise noise(sampling.seed, static_cast<Pos>(context.size()));",
        "const PositionNoise noise(sampling.seed, static_cast<Pos>(context.size()) + 1);",
    ),
    Mutation(
        "noise-without-position",
        "every position has the same noise",
        "sampling/noise.cpp",
        "kGolden * (static_cast<std::uint64_t>(position) + 1)",
        "kGolden * (static_cast<std::uint64_t>(position) * 0 + 1)",
    ),
    Mutation(
        "noise-by-index",
        "the noise belongs to the place in the list, not to the token",
        "sampling/choice.cpp",
        "        noise != nullptr ? static_cast<double>(score) + noise->gumbel(token) : score;\n"
        "    if (best.offer",
        "        noise != nullptr ? static_cast<double>(score) +\n"
        "                               noise->gumbel(static_cast<Token>(i)) : score;\n"
        "    if (best.offer",
    ),
    Mutation(
        "bound-too-tight",
        "tokens that could still win are skipped",
        "sampling/noise.cpp",
        "const double lowest = (u - margin)",
        "const double lowest = (u + 1e-3)",
    ),
    Mutation(
        "bound-too-far-below",
        "tokens a little less probable than the best are skipped",
        "sampling/perturbed_top.cpp",
        "needed_bits.at(best.worst() - largest)",
        "needed_bits.at(best.worst() - largest + 0.5)",
    ),
    Mutation(
        "quick-bound-too-tight",
        "tokens whose noise just suffices are skipped",
        "sampling/perturbed_top.cpp",
        "return v <= std::exp(-threshold) * kMargin",
        "return v <= std::exp(-threshold) * 0.9",
    ),
    Mutation(
        "block-bits-shifted",
        "the bits of a block are those of the tokens after",
        "sampling/noise.cpp",
        "const std::uint64_t key = key_ + kGolden * (static_cast<std::uint64_t>(first) + 1);",
        "const std::uint64_t key = key_ + kGolden * (static_cast<std::uint64_t>(first) + 2);",
    ),
    Mutation(
        "block-skipped-too-early",
        "blocks in which a token could still win are skipped",
        "sampling/perturbed_top.cpp",
        "best.worst() - largest > kLargestNoise",
        "best.worst() - largest > 4.0",
    ),
    Mutation(
        "noise-unbounded",
        "all ones are u = 1",
        "sampling/noise.cpp",
        "1.0 - 1.0 / static_cast<double>(kBits53));",
        "1.0);",
    ),
    Mutation(
        "tie-to-highest",
        "the highest id wins a tie",
        "sampling/choice.cpp",
        "(candidate == value && (token >= 0 && id > token))",
        "(candidate == value && (token >= 0 && id < token))",
    ),
    Mutation(
        "confidence-inverted",
        "the draft proposes its worst candidates first",
        "sampling/perturbed_top.h",
        "return a.value > b.value ||",
        "return a.value < b.value ||",
    ),
)
