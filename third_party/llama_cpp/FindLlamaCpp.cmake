# Finds the llama.cpp that the Python package llama-cpp-python has installed.
#
# SPECBRANCH_LLAMA_PREFIX (a variable, else an environment variable, else the Python environment's
# site-packages): a folder with include/llama.h and llama_cpp/lib/libllama.so.
#
# Defines LlamaCpp::llama (libllama and the ggml libraries, and llama_extra.h), and
# llama_build_info.h with what the library said about itself.

if(NOT SPECBRANCH_LLAMA_PREFIX)
  if(DEFINED ENV{SPECBRANCH_LLAMA_PREFIX})
    set(llama_prefix "$ENV{SPECBRANCH_LLAMA_PREFIX}")
  else()
    if(NOT Python_FOUND)
      find_package(Python REQUIRED COMPONENTS Interpreter)
    endif()
    execute_process(
      COMMAND ${Python_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/locate_llama_cpp.py
      OUTPUT_VARIABLE llama_prefix
      OUTPUT_STRIP_TRAILING_WHITESPACE)
  endif()
  set(SPECBRANCH_LLAMA_PREFIX "${llama_prefix}" CACHE PATH "Folder of include/ and llama_cpp/lib/"
                                                      FORCE)
endif()

# The wheel has a second copy of the libraries in <prefix>/lib: linking to that one would load two
# ggml registries, so no default path is searched.
set(llama_search PATHS ${SPECBRANCH_LLAMA_PREFIX} NO_DEFAULT_PATH NO_CACHE)
find_path(llama_include llama.h ${llama_search} PATH_SUFFIXES include)
set(llama_required llama_include)
foreach(name llama ggml ggml-base ggml-cpu)
  find_library(${name}_library ${name} ${llama_search} PATH_SUFFIXES llama_cpp/lib)
  list(APPEND llama_required ${name}_library)
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LlamaCpp
  REQUIRED_VARS ${llama_required}
  REASON_FAILURE_MESSAGE
    "looked in '${SPECBRANCH_LLAMA_PREFIX}'. Install llama-cpp-python for ${Python_EXECUTABLE}, or set SPECBRANCH_LLAMA_PREFIX")
if(NOT LlamaCpp_FOUND)
  unset(SPECBRANCH_LLAMA_PREFIX CACHE)
  return()
endif()

# The headers' fingerprint: the same headers are the same structs. specbranch_cpp/_llama/native.py
# computes it again at import.
set(llama_headers "")
foreach(header llama.h ggml.h ggml-backend.h ggml-cpu.h gguf.h)
  file(SHA256 ${llama_include}/${header} digest)
  string(APPEND llama_headers ${digest})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${llama_include}/${header})
endforeach()
string(SHA256 llama_headers "${llama_headers}")

if(NOT TARGET LlamaCpp::llama)
  foreach(name ggml-base ggml-cpu ggml llama)
    add_library(LlamaCpp::${name} SHARED IMPORTED)
    set_target_properties(LlamaCpp::${name} PROPERTIES IMPORTED_LOCATION ${${name}_library})
  endforeach()
  target_include_directories(LlamaCpp::llama INTERFACE ${llama_include} ${CMAKE_CURRENT_LIST_DIR})
  target_link_libraries(LlamaCpp::llama INTERFACE LlamaCpp::ggml LlamaCpp::ggml-cpu
                                                  LlamaCpp::ggml-base)
  # A GPU backend's own libraries (cuBLAS, the driver) are the loader's business.
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    target_link_options(LlamaCpp::llama INTERFACE LINKER:--as-needed LINKER:--allow-shlib-undefined)
  endif()
endif()

# Ask the library itself, and again whenever it is another one.
file(SHA256 ${llama_library} llama_digest)
if(NOT llama_digest STREQUAL SPECBRANCH_LLAMA_DIGEST)
  try_run(
    llama_exit llama_compiled ${CMAKE_BINARY_DIR}/llama_probe
    ${CMAKE_CURRENT_LIST_DIR}/print_versions.cpp
    LINK_LIBRARIES LlamaCpp::llama
    COMPILE_OUTPUT_VARIABLE llama_compile_log
    RUN_OUTPUT_VARIABLE llama_versions)
  if(NOT llama_compiled OR NOT llama_exit EQUAL 0)
    message(FATAL_ERROR "llama.cpp in ${SPECBRANCH_LLAMA_PREFIX} does not link or load:\n"
                        "${llama_compile_log}\n${llama_versions}")
  endif()
  string(STRIP "${llama_versions}" llama_versions)
  set(SPECBRANCH_LLAMA_VERSIONS "${llama_versions}" CACHE INTERNAL "")
  set(SPECBRANCH_LLAMA_DIGEST "${llama_digest}" CACHE INTERNAL "")
  unset(llama_exit CACHE)
  unset(llama_compiled CACHE)
endif()
list(GET SPECBRANCH_LLAMA_VERSIONS 0 llama_version)
list(GET SPECBRANCH_LLAMA_VERSIONS 1 ggml_version)
list(GET SPECBRANCH_LLAMA_VERSIONS 2 ggml_commit)
message(STATUS "llama.cpp ${llama_version} (${ggml_commit}), ggml ${ggml_version}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/llama_build_info.h.in
               ${CMAKE_BINARY_DIR}/llama_build_info/llama_build_info.h @ONLY)
target_include_directories(LlamaCpp::llama INTERFACE ${CMAKE_BINARY_DIR}/llama_build_info)
