#include "server/malloc_arenas.h"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "server/cpu_quota.h"

namespace vitower {

void LimitMallocArenas() {
#ifdef __GLIBC__
  if (std::getenv("MALLOC_ARENA_MAX") == nullptr) mallopt(M_ARENA_MAX, UsableCores());
#endif
}

}  // namespace vitower
