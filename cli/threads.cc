#include "cli/threads.h"

#include "server/cpu_quota.h"

namespace vitower {

int ThreadCount(int wanted) { return wanted > 0 ? wanted : UsableCores(); }

}  // namespace vitower
