"""The noise and the choice, on both sides."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "draft-noise-position",
        "the draft's noise is that of the position before",
        "simulation/fake_model.cpp",
        "const PositionNoise noise(sampling_.seed, static_cast<Pos>(cells.size()));",
        "const PositionNoise noise(sampling_.seed, static_cast<Pos>(cells.size()) - 1);",
    ),
    Mutation(
        "target-noise-position",
        "the target's noise is that of the position after",
        "simulation/fake_model.cpp",
        "const PositionNoise noise(sampling_.seed, static_cast<Pos>(context.size()));",
        "const PositionNoise noise(sampling_.seed, static_cast<Pos>(context.size()) + 1);",
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
        "sampling/choice.cpp",
        "return bits < needed_[step];",
        "return bits < needed_[std::min<std::size_t>(step + 1, 24)];",
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
        "sampling/choice.cpp",
        "    return a.confidence > b.confidence ||",
        "    return a.confidence < b.confidence ||",
    ),
)
