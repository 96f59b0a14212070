"""The speculation tree, and where the draft's branches lie in its KV cache."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "ids-reused",
        "node ids begin anew with every root",
        "tree/tree.cpp",
        "  nodes_.clear();\n",
        "  nodes_.clear();\n  next_id_ = 0;\n",
    ),
    Mutation(
        "child-twice",
        "a candidate becomes a second child",
        "tree/tree.cpp",
        "known != kNoNode) return known;",
        "known == kNoNode + 1000000) return known;",
    ),
    Mutation(
        "dropped-siblings-forgotten",
        "re-rooting tells the committed nodes as dropped",
        "tree/tree.cpp",
        "if (!committed.contains(it->first)) dropped",
        "if (true || !committed.contains(it->first)) dropped",
    ),
    Mutation(
        "draft-one-short",
        "a branch is forked one cell short, and the ledger believes it is not",
        "tree/draft_sequences.cpp",
        "Fork{from, to, shared, ledger_.length(to), held}",
        "Fork{from, to, std::min(shared, held - 1), ledger_.length(to), held - 1}",
    ),
    Mutation(
        "ledger-copies-one-short",
        "the ledger notes a fork one cell short",
        "tree/kv_ledger.cpp",
        "  truncate(to, length);",
        "  truncate(to, length - 1);",
    ),
    Mutation(
        "kept-prefix-forgotten",
        "a begin leaves every other sequence empty, as far as the ledger knows",
        "tree/kv_ledger.cpp",
        "entries_[seq] = {lengths[seq], {}};",
        "entries_[seq] = {seq == 0 ? lengths[seq] : 0, {}};",
    ),
    Mutation(
        "kept-prefix-unchecked",
        "the draft may begin with any part of the prompt",
        "decoder/decoder.cpp",
        "done.lengths.front() != done.n_reused",
        "done.lengths.front() < 0",
    ),
    Mutation(
        "fork-wrong-prefix",
        "cells that differ are kept as if they were common",
        "tree/draft_sequences.cpp",
        "const Pos shared = std::min(ledger_.common_of(from, to), held);",
        "const Pos shared = std::min(ledger_.length(to), held);",
    ),
    Mutation(
        "ledger-not-normalized",
        "what was drafted and then committed is taken for different",
        "tree/kv_ledger.cpp",
        "  normalize(entry);\n",
        "",
    ),
    Mutation(
        "ledger-tail-ignored",
        "the common prefix ends where the committed text does",
        "tree/kv_ledger.cpp",
        "  return entry.base + static_cast<Pos>(end.first - entry.tail.begin());",
        "  return entry.base + 0 * static_cast<Pos>(end.first - entry.tail.begin());",
    ),
    Mutation(
        "cuts-live-branch",
        "a sequence is cut although a live branch needs its cells",
        "tree/draft_sequences.cpp",
        "if (!uses(command.inputs, from) && !holds_live_node(tree, from, held)) {",
        "if (!uses(command.inputs, from)) {",
    ),
    Mutation(
        "sequence-taken-twice",
        "a branch is put on a sequence that another one uses",
        "tree/draft_sequences.cpp",
        "if (!uses(taken, seq) && !holds_live_node(tree, seq, 0)) return seq;",
        "if (!uses(taken, seq)) return seq;",
    ),
    Mutation(
        "chase-without-end",
        "a pass that reads committed text is aborted by every verification",
        "tree/draft_sequences.cpp",
        "    return end - input.tokens.begin() >= kCatchUp;\n",
        "    return end < input.tokens.begin();\n",
    ),
    Mutation(
        "cancel-remembered",
        "the next draft pass counts as cancelled, too",
        "tree/draft_sequences.cpp",
        "  cancelled_ = false;\n",
        "",
    ),
)
