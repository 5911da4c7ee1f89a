#include "server/memory_limit.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace vitower {

std::optional<int64_t> MemoryLimit(const std::string& root) {
  constexpr int64_t kNone = int64_t{1} << 60;  // v1 says no limit with a number near the largest
  std::ifstream file(root + "/memory.max");
  if (!file) file = std::ifstream(root + "/memory/memory.limit_in_bytes");
  int64_t bytes = 0;
  if (!(file >> bytes) || bytes <= 0 || bytes >= kNone) return std::nullopt;  // v2: "max"
  return bytes;
}

int64_t UsableMemoryBytes() {
  const int64_t machine = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  return std::min(machine, MemoryLimit("/sys/fs/cgroup").value_or(machine));
}

}  // namespace vitower
