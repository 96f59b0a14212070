// The `main` of a benchmark of one model.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

namespace specbranch::bench {

/// Calls `run(path, n_ctx)` with the arguments `MODEL [n_ctx]`, by default 32,768. Returns the exit
/// code.
template <class Run>
int model_main(int argc, char** argv, const char* model, Run run) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s %s [n_ctx]\n", argv[0], model);
    return 2;
  }
  try {
    run(std::string(argv[1]), argc > 2 ? std::atoi(argv[2]) : 32768);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace specbranch::bench
