#include "server/malloc_arenas.h"

#include <malloc.h>

#include "server/cpu_quota.h"

namespace vitower {

void LimitMallocArenas() { mallopt(M_ARENA_MAX, UsableCores()); }

}  // namespace vitower
