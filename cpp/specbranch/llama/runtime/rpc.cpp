#include "specbranch/llama/runtime/rpc.h"

#include <cstddef>
#include <map>

#include "ggml-backend.h"
#include "llama.h"
#include "llama_extra.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/devices.h"
#include "specbranch/llama/runtime/llama_call.h"

namespace specbranch::llama {
namespace {

using AddServer = ggml_backend_reg_t (*)(const char* endpoint);
using StartServer = void (*)(const char* endpoint, const char* cache_dir, std::size_t n_threads,
                             std::size_t n_devices, ggml_backend_dev_t* devices);

/// A function of the backend. Linking to it would need a llama.cpp that has it.
template <class Function>
Function find(const char* name) {
  init_backend();
  ggml_backend_reg_t backend = ggml_backend_reg_by_name("RPC");
  void* address = backend == nullptr ? nullptr : ggml_backend_reg_get_proc_address(backend, name);
  if (address == nullptr) {
    throw InvalidArgument(
        "[Rpc] the installed llama.cpp was built without its RPC backend (GGML_RPC)");
  }
  return reinterpret_cast<Function>(address);
}

std::vector<ggml_backend_dev_t> served_devices(const std::vector<std::string>& names) {
  std::vector<ggml_backend_dev_t> found;
  std::string known;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    known += (i > 0 ? ", " : "") + std::string(ggml_backend_dev_name(device));
    if (names.empty() && is_gpu(device)) found.push_back(device);
  }
  for (const std::string& name : names) {
    ggml_backend_dev_t device = ggml_backend_dev_by_name(name.c_str());
    if (device == nullptr) {
      throw InvalidArgument("[Rpc] there is no such device; " + name + "; " + known);
    }
    found.push_back(device);
  }
  if (found.empty()) {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (cpu != nullptr) found.push_back(cpu);
  }
  return found;
}

}  // namespace

bool has_rpc() {
  init_backend();
  return ggml_backend_reg_by_name("RPC") != nullptr;
}

bool uses_rpc(const llama_model* model) {
  ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
  if (rpc == nullptr) return false;
  for (int i = 0; i < llama_model_n_devices(model); ++i) {
    if (ggml_backend_dev_backend_reg(llama_model_get_device(model, i)) == rpc) return true;
  }
  return false;
}

std::vector<std::string> add_rpc_server(const std::string& endpoint) {
  // Never destroyed: the process ends with the connections.
  static auto* const added = new std::map<std::string, std::vector<std::string>>;
  if (const auto known = added->find(endpoint); known != added->end()) return known->second;

  const LlamaCall call;
  ggml_backend_reg_t server = find<AddServer>("ggml_backend_rpc_add_server")(endpoint.c_str());
  if (server == nullptr) {
    throw ModelLoadError("[Rpc] the server has no devices; " + endpoint);
  }
  std::vector<std::string> names;
  for (std::size_t i = 0; i < ggml_backend_reg_dev_count(server); ++i) {
    ggml_backend_dev_t device = ggml_backend_reg_dev_get(server, i);
    names.emplace_back(ggml_backend_dev_name(device));
    // An object of the device keeps its connection.
    if (ggml_backend_dev_init(device, nullptr) == nullptr) {
      throw ModelLoadError("[Rpc] the device cannot be used; " + names.back() + "; " + endpoint);
    }
  }
  ggml_backend_register(server);
  return added->emplace(endpoint, std::move(names)).first->second;
}

void serve_rpc(const std::string& endpoint, int n_threads,
               const std::vector<std::string>& devices) {
  const auto start = find<StartServer>("ggml_backend_rpc_start_server");
  if (n_threads < 1) {
    throw InvalidArgument("[Rpc] n_threads is out of its range; " + std::to_string(n_threads) +
                          "; at least 1");
  }
  std::vector<ggml_backend_dev_t> served = served_devices(devices);
  if (served.empty()) throw InvalidArgument("[Rpc] llama.cpp finds no device");
  start(endpoint.c_str(), /*cache_dir=*/nullptr, static_cast<std::size_t>(n_threads), served.size(),
        served.data());
}

}  // namespace specbranch::llama
