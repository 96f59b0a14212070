# For llama-cpp-python's own build (CMAKE_PROJECT_llama_cpp_INCLUDE): leaves out llama.cpp's
# `common`, more than half of the compilation, which only its programs use. llama-cpp-python sets
# the cache variable by force; a normal variable goes before it (CMP0126).
set(LLAMA_BUILD_COMMON OFF)
