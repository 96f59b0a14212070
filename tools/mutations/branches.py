"""Verifications with branches."""

from __future__ import annotations

from mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "branch-of-any-row",
        "a row counts as the next one whatever it follows",
        "model/row_tree.cpp",
        "if (rows[next].token == token && parent_of(rows, next) == static_cast<int>(i))",
        "if (rows[next].token == token)",
    ),
    Mutation(
        "branch-sibling-twice",
        "two rows with the same token may follow a row",
        "model/row_tree.cpp",
        "    if (row_after(rows.first(i), parent, rows[i].token)) {",
        "    if (rows.empty()) {",
    ),
    Mutation(
        "branch-taken-for-path",
        "the tokens of an accepted branch count as cells that the target holds",
        "decoder/decoder.cpp",
        "tree_.at(tree_.root()).pos + submitted.n_on_path(accepted)",
        "tree_.at(tree_.root()).pos + tree_.depth(accepted) + 1",
    ),
    Mutation(
        "branch-keeps-path",
        "the rejected path stays in the target's cells when a branch is accepted",
        "decoder/target_text.cpp",
        "const Pos stays = std::min({held_, right_, root}); held_ > stays",
        "const Pos stays = std::min({held_, root}); held_ > stays",
    ),
    Mutation(
        "branch-held",
        "the decoder believes that the target holds the cells of branches",
        "decoder/target_text.cpp",
        "static_cast<Pos>(path_length(rows));",
        "static_cast<Pos>(rows.size());",
    ),
    Mutation(
        "branch-parent-unmoved",
        "rows that are decoded again come before the rows that branches name",
        "decoder/target_text.cpp",
        "row.parent += static_cast<int>(replayed.size());",
        "row.parent += 0;",
    ),
    Mutation(
        "branch-from-root",
        "every branch begins at the root",
        "decoder/submission.cpp",
        "parents_.push_back(begins ? parent : Row::kBefore);",
        "parents_.push_back(begins ? 0 * parent : Row::kBefore);",
    ),
    Mutation(
        "branch-rows-twice",
        "rows that two branches share are decoded for each",
        "decoder/submission.cpp",
        "if (std::ranges::find(nodes_, node) != nodes_.end()) continue;",
        "if (std::ranges::find(path(), node) != path().end()) continue;",
    ),
    Mutation(
        "branch-traced-as-path",
        "the trace tells the path although a branch was accepted",
        "decoder/decoder.cpp",
        "  if (end != submitted.end()) recorder_.on_branch(tree_, end);\n",
        "",
    ),
    Mutation(
        "branch-for-functions",
        "functions of the caller get verifications with branches",
        "decoder/decoder.cpp",
        "view.n_branches = request_->processors ? 0 : limits_.target.n_branches;",
        "view.n_branches = limits_.target.n_branches;",
    ),
    Mutation(
        "branches-in-company",
        "a verification with branches shares its batch with other texts",
        "engine/command_queue.cpp",
        "  if (verifies_branches(command)) group = kAlone;\n",
        "  if (verifies_branches(command) && waiting_.size() > 99) group = kAlone;\n",
    ),
    Mutation(
        "branches-without-limit",
        "a verification has more branches than the target can have",
        "planner/auto/verification_tree.cpp",
        "      if (branches) --n_branches_;\n",
        "",
    ),
    Mutation(
        "branches-without-end",
        "more tokens are verified than were asked for",
        "planner/auto/verification_tree.cpp",
        "      if (!next.in_texts) --n_drafted_;\n",
        "",
    ),
    Mutation(
        "branch-for-nothing",
        "the rows of branches cost nothing",
        "planner/auto/verification_tree.cpp",
        "    const double value = expected - rate * us;",
        "    const double value = expected - rate * verification_us(costs, view, 1, 1.0, 1.0);",
    ),
    Mutation(
        "branch-where-rows-are-dear",
        "there are branches where rows are expensive",
        "planner/auto/verification_tree.cpp",
        "    if (again > 0.0 && !rows_are_cheap(costs, rows)) continue;\n",
        "",
    ),
    Mutation(
        "branch-again-for-nothing",
        "what an accepted branch makes the target decode again costs nothing",
        "planner/auto/verification_tree.cpp",
        " + again * row_us(costs, rows);",
        " + 0.0 * again * row_us(costs, rows);",
    ),
    Mutation(
        "branch-as-probable-as-path",
        "the chance of a node is that after its parent alone",
        "planner/auto/verification_tree.cpp",
        "member.chance = nodes_[parent].chance * p;",
        "member.chance = p;",
    ),
)
