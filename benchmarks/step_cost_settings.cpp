#include "step_cost_settings.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace specbranch::step_cost {
namespace {

using llama::ModelOptions;

int parse_int(const std::string& name, std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw std::runtime_error(name + " is '" + std::string(text) + "'; it must be a whole number");
  }
  return value;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts{""};
  for (const char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  return parts;
}

std::vector<int> parse_ints(const std::string& name, const std::string& text) {
  std::vector<int> values;
  for (const std::string& part : split(text)) values.push_back(parse_int(name, part));
  return values;
}

bool set_model_option(ModelOptions& options, const std::string& name, const std::string& value) {
  if (name == "gpu-layers") {
    options.n_gpu_layers = parse_int(name, value);
  } else if (name == "devices") {
    options.devices = split(value);
  } else if (name == "threads") {
    options.n_threads = parse_int(name, value);
  } else if (name == "cpus") {
    options.cpus = parse_ints(name, value);
  } else {
    return false;
  }
  return true;
}

}  // namespace

Settings parse_settings(std::span<char*> arguments) {
  Settings settings;
  settings.target.path = arguments[1];
  settings.draft.path = arguments[2];
  settings.target.n_ctx = settings.draft.n_ctx = 1024;
  for (std::size_t i = 3; i < arguments.size(); i += 2) {
    const std::string name = arguments[i];
    if (i + 1 == arguments.size()) throw std::runtime_error(name + " needs a value");
    const std::string value = arguments[i + 1];
    if (name == "--lengths") {
      settings.lengths = parse_ints(name, value);
    } else if (name == "--widths") {
      settings.widths = parse_ints(name, value);
    } else if (name == "--start") {
      settings.start = parse_int(name, value);
    } else if (name == "--repeats") {
      settings.repeats = parse_int(name, value);
    } else if (name == "--seconds") {
      settings.seconds = parse_int(name, value);
    } else if (name == "--n-ctx") {
      settings.target.n_ctx = settings.draft.n_ctx = parse_int(name, value);
    } else if (!(name.starts_with("--target-") &&
                 set_model_option(settings.target, name.substr(9), value)) &&
               !(name.starts_with("--draft-") &&
                 set_model_option(settings.draft, name.substr(8), value))) {
      throw std::runtime_error("unknown option " + name);
    }
  }
  llama::validate(settings.target);
  llama::validate(settings.draft);
  llama::plan_threads(settings.target, &settings.draft);
  const Pos room = settings.start + kGrowth + std::ranges::max(settings.lengths);
  if (settings.start < 2 || room > settings.target.n_ctx) {
    throw std::runtime_error("--start is " + std::to_string(settings.start) +
                             "; it must be at least 2, and with " +
                             std::to_string(room - settings.start) + " more fit into --n-ctx " +
                             std::to_string(settings.target.n_ctx));
  }
  return settings;
}

}  // namespace specbranch::step_cost
