#include "server/malloc_arenas.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "server/cpu_quota.h"

namespace vitower {

void LimitMallocArenas() {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, UsableCores());
#endif
}

}  // namespace vitower
