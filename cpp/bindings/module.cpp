#include <pybind11/pybind11.h>

#include "abi.h"
#include "commit.h"
#include "engine.h"
#include "errors.h"
#include "fake.h"
#include "generation.h"
#include "info.h"
#include "load.h"
#include "log.h"
#include "policy.h"
#include "profile.h"
#include "request.h"
#include "simulate.h"
#include "specbranch/base/version.h"
#include "stats.h"
#include "trace.h"

PYBIND11_MODULE(_core, m) {
  using namespace specbranch::bindings;  // NOLINT(google-build-using-namespace)
  register_abi(m);
  register_errors(m);
  register_policy(m);
  register_request(m);
  register_stats(m);
  register_trace(m);
  register_profile(m);
  register_simulate(m);
  register_generation(m);
  register_engine(m);
  register_fake(m);
  register_load(m);
  register_log(m);
  register_info(m);
  m.attr("__version__") = specbranch::version();
  m.def(
      "build_commit", [] { return build_commit(); },
      "Of the clone that this was compiled from, with \"-dirty\" if it was changed; empty: none.");
}
