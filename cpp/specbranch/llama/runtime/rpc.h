/// llama.cpp's RPC backend: devices of other hosts. A llama.cpp without it has everything else.
#pragma once

#include <string>
#include <vector>

struct llama_model;

namespace specbranch::llama {

/// Whether the loaded llama.cpp was built with the RPC backend.
bool has_rpc();

/// Whether any layer of `model` is on a device of another host.
bool uses_rpc(const llama_model* model);

/// Connects to a server, and makes its devices devices of this process; returns their names
/// (`RPC0`). The connection lasts as long as the process: a server serves one at a time, and
/// between two connections it could be taken by another program. A second call does nothing.
///
/// Whatever goes wrong with the connection, now or later, ENDS THE PROCESS: so look at the server
/// before, and call this only in a process that may end. `endpoint`: an IPv4 address and a port.
/// Throws InvalidArgument: llama.cpp has no RPC backend; ModelLoadError: the server has no devices.
/// For one thread, before models are loaded.
std::vector<std::string> add_rpc_server(const std::string& endpoint);

/// Serves devices of this process to others, one connection after the other, until the process
/// ends; prints to standard output. Returns only if it cannot listen.
///
/// `endpoint`: an IPv4 address of this host and a port. `n_threads`: for the CPU as a device.
/// `devices`: names; empty: all GPUs, or else the CPU. Throws InvalidArgument.
void serve_rpc(const std::string& endpoint, int n_threads, const std::vector<std::string>& devices);

}  // namespace specbranch::llama
