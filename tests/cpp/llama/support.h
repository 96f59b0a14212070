/// Models for the tests, and the loops that an engine would run.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/models/draft.h"
#include "specbranch/llama/models/target.h"

namespace specbranch::llama::testing {

/// Path of the test's model: SPECBRANCH_TEST_TARGET / SPECBRANCH_TEST_DRAFT, else the bundled pair;
/// empty when there is none.
std::string target_path();
std::string draft_path();

/// Loaded once for all tests.
std::shared_ptr<const Weights> target_weights();
std::shared_ptr<const Weights> draft_weights();

/// One thread, 1,024 positions.
ModelOptions small_options(const std::string& path);

Request request_of(const std::vector<Token>& prompt, const SamplingOptions& sampling = {});

/// Temperature 1.
SamplingOptions hot(std::uint64_t seed);

/// Of two rows of logits.
float largest_difference(const std::vector<float>& a, const std::vector<float>& b);

/// The path of a file of this process in the folder for temporary files. Whoever writes it removes
/// it.
std::filesystem::path temporary_file(const std::string& name);

/// A prompt of Python code of about `n` tokens.
std::vector<Token> code_prompt(int n);

/// Generates `n` tokens one by one (fewer at an end token).
std::vector<Token> generate(LlamaTarget& target, const Request& request, int n);

/// The same, verifying drafts of 1 to `max_draft` tokens of which about `hit_rate` are right
/// (`truth` is what the text will be). Every verification is followed by a truncation.
std::vector<Token> generate_with_drafts(LlamaTarget& target, const Request& request,
                                        const std::vector<Token>& truth, int max_draft,
                                        double hit_rate, unsigned seed);

}  // namespace specbranch::llama::testing

/// Leaves the test, loudly, when there is no model to run it on.
#define SPECBRANCH_NEEDS_MODELS()                                             \
  if (specbranch::llama::testing::target_path().empty() ||                    \
      specbranch::llama::testing::draft_path().empty()) {                     \
    MESSAGE("SKIPPED: set SPECBRANCH_TEST_TARGET and SPECBRANCH_TEST_DRAFT"); \
    return;                                                                   \
  }                                                                           \
  static_assert(true)
