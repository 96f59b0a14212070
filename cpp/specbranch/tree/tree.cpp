#include "specbranch/tree/tree.h"

#include <algorithm>
#include <string>
#include <unordered_set>

#include "specbranch/base/errors.h"

namespace specbranch {

NodeId SpeculationTree::reset(Token token, Pos pos) {
  nodes_.clear();
  root_ = next_id_++;
  Node root;
  root.id = root_;
  root.token = token;
  root.pos = pos;
  nodes_.emplace(root_, std::move(root));
  return root_;
}

NodeId SpeculationTree::add_child(NodeId parent, int rank) {
  Node& node = at(parent);
  const auto index = static_cast<std::size_t>(rank);
  if (!node.evaluated || rank < 0 || index >= node.candidates.size()) {
    throw PreconditionError("[SpeculationTree::add_child] no candidate of rank " +
                            std::to_string(rank) + "; node " + std::to_string(parent) + " has " +
                            std::to_string(node.candidates.size()));
  }
  const Candidate& candidate = node.candidates[index];
  if (const NodeId known = find_child(parent, candidate.token); known != kNoNode) {
    Node& child = at(known);
    if (child.rank == kNoRank) {  // a text had proposed it before
      child.rank = rank;
      child.confidence = candidate.confidence;
    }
    return known;
  }
  Node child;
  child.id = next_id_++;
  child.parent = parent;
  child.token = candidate.token;
  child.pos = node.pos + 1;
  child.rank = rank;
  child.confidence = candidate.confidence;
  node.children.push_back(child.id);
  const NodeId id = child.id;
  nodes_.emplace(id, std::move(child));
  return id;
}

NodeId SpeculationTree::add_child(NodeId parent, const Proposal& proposal) {
  Node& node = at(parent);
  NodeId id = find_child(parent, proposal.token);
  if (id == kNoNode) {
    Node child;
    child.id = id = next_id_++;
    child.parent = parent;
    child.token = proposal.token;
    child.pos = node.pos + 1;
    const auto known = std::ranges::find(node.candidates, proposal.token, &Candidate::token);
    const bool drafted = known != node.candidates.end();
    child.rank = drafted ? static_cast<int>(known - node.candidates.begin()) : kNoRank;
    child.confidence = drafted ? known->confidence : proposal.probability;
    child.source = proposal.source;
    node.children.push_back(id);
    nodes_.emplace(id, std::move(child));
  }
  at(id).text_probability = proposal.probability;
  at(id).forced = proposal.source == TokenSource::kGrammar;
  return id;
}

NodeId SpeculationTree::add(const NodeRef& ref) {
  return ref.rank == NodeRef::kItself ? ref.node : add_child(ref.node, ref.rank);
}

NodeId SpeculationTree::find(const NodeRef& ref) const {
  if (ref.rank == NodeRef::kItself) return ref.node;
  const auto& candidates = at(ref.node).candidates;
  const auto index = static_cast<std::size_t>(ref.rank);
  return index < candidates.size() ? find_child(ref.node, candidates[index].token) : kNoNode;
}

NodeId SpeculationTree::find_child(NodeId parent, Token token) const {
  for (const NodeId child : at(parent).children) {
    if (at(child).token == token) return child;
  }
  return kNoNode;
}

void SpeculationTree::forget_sequences() {
  for (auto& [id, node] : nodes_) node.seq = kNoSeq;
}

std::vector<Node> SpeculationTree::descendants(NodeId id) const {
  std::vector<Node> found;
  std::vector<NodeId> open = at(id).children;
  while (!open.empty()) {
    found.push_back(at(open.back()));
    open.pop_back();
    open.insert(open.end(), found.back().children.begin(), found.back().children.end());
  }
  std::ranges::sort(found, {}, &Node::id);
  return found;
}

std::vector<Node> SpeculationTree::reroot(NodeId node) {
  std::unordered_set<NodeId> keep{node};
  for (const Node& kept : descendants(node)) keep.insert(kept.id);
  std::unordered_set<NodeId> committed;
  for (NodeId id = at(node).parent; id != kNoNode; id = at(id).parent) committed.insert(id);
  std::vector<Node> dropped;
  for (auto it = nodes_.begin(); it != nodes_.end();) {
    if (keep.contains(it->first)) {
      ++it;
      continue;
    }
    if (!committed.contains(it->first)) dropped.push_back(std::move(it->second));
    it = nodes_.erase(it);
  }
  // The map has no order; callers compare, so give them one.
  std::ranges::sort(dropped, {}, &Node::id);
  root_ = node;
  at(node).parent = kNoNode;
  return dropped;
}

const Node& SpeculationTree::at(NodeId id) const {
  const auto it = nodes_.find(id);
  if (it == nodes_.end()) {
    throw PreconditionError("[SpeculationTree::at] no node " + std::to_string(id));
  }
  return it->second;
}

Node& SpeculationTree::at(NodeId id) {
  return const_cast<Node&>(static_cast<const SpeculationTree*>(this)->at(id));
}

int SpeculationTree::depth(NodeId id) const { return at(id).pos - at(root_).pos; }

int SpeculationTree::depth(const NodeRef& ref) const {
  return depth(ref.node) + (ref.rank == NodeRef::kItself ? 0 : 1);
}

std::vector<NodeId> SpeculationTree::path_nodes(NodeId id) const {
  std::vector<NodeId> nodes;
  for (NodeId n = id; n != kNoNode; n = at(n).parent) nodes.push_back(n);
  std::reverse(nodes.begin(), nodes.end());
  return nodes;
}

std::vector<Token> SpeculationTree::path(NodeId id) const {
  std::vector<Token> tokens;
  for (const NodeId n : path_nodes(id)) tokens.push_back(at(n).token);
  return tokens;
}

NodeId SpeculationTree::main_leaf(NodeId id) const {
  for (;;) {
    const Node& node = at(id);
    if (node.children.empty()) return id;
    id = node.children.front();
    for (const NodeId child : node.children) {
      if (at(child).rank == 0) id = child;
    }
  }
}

}  // namespace specbranch
