/* glibc 2.32 has this header, and GCC's C++ headers use it where it exists. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif
extern __attribute__((visibility("hidden"))) char __libc_single_threaded;
#ifdef __cplusplus
}
#endif
