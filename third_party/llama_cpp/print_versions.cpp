// Run by FindLlamaCpp.cmake: the loaded library's own answers, as a CMake list.
#include <ggml.h>
#include <llama.h>

#include <cstdio>

int main() { std::printf("%s;%s;%s\n", llama_version(), ggml_version(), ggml_commit()); }
