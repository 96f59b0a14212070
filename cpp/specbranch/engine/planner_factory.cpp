#include "specbranch/planner/auto/auto_planner.h"
#include "specbranch/planner/auto/text_planner.h"
#include "specbranch/planner/planners.h"

namespace specbranch {

std::unique_ptr<Planner> make_planner(const Request& request, PairProfile* profile,
                                      bool has_draft) {
  switch (request.mode) {
    case Mode::kSpeculative:
      return std::make_unique<SpeculativePlanner>(request, profile);
    case Mode::kPearl:
      return std::make_unique<PearlPlanner>(request, profile);
    case Mode::kSpecBranch:
      return std::make_unique<SpecBranchPlanner>(request, profile);
    case Mode::kAuto:
      if (!has_draft) return std::make_unique<TextPlanner>(request, profile);
      return std::make_unique<AutoPlanner>(auto_bounds(request), request.sampling.temperature,
                                           profile);
    case Mode::kAutoregressive:
      break;
  }
  return std::make_unique<AutoregressivePlanner>(profile);
}

}  // namespace specbranch
