/// The draft tree: the tokens that are drafted past the last committed token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/sampling/choice.h"

namespace specbranch {

/// What proposed a token: the draft model, a text, the prediction, which is a text, too, or the
/// grammar, which leaves no choice. Where it is not said otherwise, "a text" is any but the first.
enum class TokenSource : std::uint8_t { kDraft, kText, kPrediction, kGrammar };

/// A token that a text proposes after a node.
struct Proposal {
  Token token = 0;
  double probability = 0.0;  ///< that the target chooses it there.
  TokenSource source = TokenSource::kText;
};

/// One token past (or at) the root.
struct Node {
  NodeId id = kNoNode;
  NodeId parent = kNoNode;  ///< kNoNode: the root.
  Token token = 0;
  Pos pos = 0;                               ///< absolute position of `token`.
  int rank = 0;                              ///< 0: the draft's first choice after the parent.
  double confidence = 1.0;                   ///< of what proposed it first, for this token there.
  TokenSource source = TokenSource::kDraft;  ///< of what added it to the tree.
  double text_probability = 0.0;      ///< a text proposes it with this probability; 0: none does.
  bool forced = false;                ///< ... that text is the grammar: the draft does not know it.
  SeqId seq = kNoSeq;                 ///< draft sequence whose KV holds it; kNoSeq: not decoded.
  bool evaluated = false;             ///< `candidates` is known.
  bool main = false;                  ///< counted in `n_drafted`.
  std::vector<Candidate> candidates;  ///< the draft's best next tokens, best first.
  std::vector<NodeId> children;       ///< in order of creation.
};

/// The rank of a node that only a text has proposed.
inline constexpr int kNoRank = 1 << 20;

/// A node of the tree, or the child that a node may get for one of its candidates.
struct NodeRef {
  static constexpr int kItself = -1;

  NodeId node = kNoNode;  ///< kNoNode: no node at all.
  int rank = kItself;     ///< of the candidate whose child is meant; kItself: `node` is meant.

  bool operator==(const NodeRef&) const = default;
};

/// *Invariants:* exactly one root, the last committed token; every other node is the child of a
/// node at the position before; siblings differ in their token; ids are never reused.
class SpeculationTree {
 public:
  /// Drops all nodes and makes a new root. Ids are not reused.
  NodeId reset(Token token, Pos pos);

  /// Returns the child of `parent` for its candidate of `rank`; adds the child if needed.
  NodeId add_child(NodeId parent, int rank);

  /// Returns the child of `parent` for a token that a text proposes; adds the child if needed. Its
  /// rank is kNoRank unless the draft has proposed the token, too.
  NodeId add_child(NodeId parent, const Proposal& proposal);

  /// Returns the node of `ref`; adds the child if needed.
  NodeId add(const NodeRef& ref);

  /// The node of `ref`; kNoNode: the child does not exist yet.
  NodeId find(const NodeRef& ref) const;

  /// The child of `parent` with `token`; kNoNode: no such child.
  NodeId find_child(NodeId parent, Token token) const;

  /// Makes `node` the root and drops all nodes that do not descend from it. Returns the dropped
  /// nodes, without the ancestors of `node`, which are committed.
  std::vector<Node> reroot(NodeId node);

  /// Sets the member `seq` of all nodes to kNoSeq.
  void forget_sequences();

  /// The descendants of `id`, without `id` itself, in order of creation.
  std::vector<Node> descendants(NodeId id) const;

  bool contains(NodeId id) const { return nodes_.contains(id); }
  const Node& at(NodeId id) const;
  Node& at(NodeId id);
  NodeId root() const { return root_; }
  std::size_t size() const { return nodes_.size(); }
  const std::unordered_map<NodeId, Node>& nodes() const { return nodes_; }

  /// Tokens between the root and `id`: 0 for the root itself.
  int depth(NodeId id) const;

  /// The same for a node that may not exist yet.
  int depth(const NodeRef& ref) const;

  /// The nodes from the root (included) to `id` (included).
  std::vector<NodeId> path_nodes(NodeId id) const;

  /// Tokens from the root (included) to `id` (included).
  std::vector<Token> path(NodeId id) const;

  /// Follows the first child (rank 0 where there is one, else the first created) down from `id`.
  NodeId main_leaf(NodeId id) const;

 private:
  std::unordered_map<NodeId, Node> nodes_;
  NodeId root_ = kNoNode;
  NodeId next_id_ = 0;
};

}  // namespace specbranch
