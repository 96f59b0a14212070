#include <pybind11/pybind11.h>

#include "bindings/engine/engine.h"
#include "bindings/engine/generation.h"
#include "bindings/engine/load.h"
#include "bindings/engine/policy.h"
#include "bindings/engine/processors.h"
#include "bindings/engine/request.h"
#include "bindings/engine/rows.h"
#include "bindings/library/abi.h"
#include "bindings/library/adapter.h"
#include "bindings/library/commit.h"
#include "bindings/library/errors.h"
#include "bindings/library/info.h"
#include "bindings/library/llguidance.h"
#include "bindings/library/log.h"
#include "bindings/library/rpc.h"
#include "bindings/report/profile.h"
#include "bindings/report/stats.h"
#include "bindings/report/trace.h"
#include "bindings/simulation/fake.h"
#include "bindings/simulation/simulate.h"
#include "specbranch/base/version.h"

PYBIND11_MODULE(_core, m) {
  using namespace specbranch::bindings;  // NOLINT(google-build-using-namespace)
  register_abi(m);
  register_errors(m);
  register_policy(m);
  register_processors(m);
  register_request(m);
  register_stats(m);
  register_trace(m);
  register_profile(m);
  register_simulate(m);
  register_generation(m);
  register_row_padding(m);
  register_adapter(m);
  register_engine(m);
  register_fake(m);
  register_load(m);
  register_row_test(m);
  register_log(m);
  register_info(m);
  register_llguidance(m);
  register_rpc(m);
  m.attr("__version__") = specbranch::version();
  m.def(
      "build_commit", [] { return build_commit(); },
      "Of the clone that this was compiled from, with \"-dirty\" if it was changed; empty: none.");
}
