// Calls of llama.cpp that do not get on.
#include "specbranch/llama/runtime/llama_call.h"

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <thread>

using specbranch::llama::LlamaCall;

TEST_CASE("only a call that runs is quiet") {
  CHECK_FALSE(LlamaCall::quiet_s().has_value());
  auto outer = std::make_unique<LlamaCall>();
  CHECK(LlamaCall::quiet_s().has_value());
  {
    const LlamaCall inner;
    CHECK(LlamaCall::quiet_s().has_value());
  }
  CHECK(LlamaCall::quiet_s().has_value());
  outer.reset();
  CHECK_FALSE(LlamaCall::quiet_s().has_value());
}

TEST_CASE("a call is quiet since the last sign of life") {
  const LlamaCall call;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double before = LlamaCall::quiet_s().value();
  CHECK(before >= 0.02);
  // A busy machine may keep this thread waiting between any two lines.
  const auto noted = std::chrono::steady_clock::now();
  LlamaCall::note_progress();
  const double quiet = LlamaCall::quiet_s().value();
  const std::chrono::duration<double> since = std::chrono::steady_clock::now() - noted;
  CHECK(quiet <= since.count() + 1e-3);
}
