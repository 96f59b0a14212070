/* Included before everything else: GCC's C++ headers were configured for this machine's C library,
   and must not use what the older one of the wheels lacks. */
#pragma once

#ifdef __cplusplus
#include <bits/c++config.h>
/* pthread_*_clock* are of glibc 2.30. Without them, waits until a steady time point convert it. */
#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT
#undef _GLIBCXX_USE_PTHREAD_MUTEX_CLOCKLOCK
#undef _GLIBCXX_USE_PTHREAD_RWLOCK_CLOCKLOCK
#endif
