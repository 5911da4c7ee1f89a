#include "server/cpu_quota.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>

namespace vitower {

std::optional<int> CpuQuota(const std::string& root) {
  constexpr double kMost = 1 << 20;
  double quota_us = 0;  // stays 0 where the file says "max"
  double period_us = 0;
  if (std::ifstream v2(root + "/cpu.max"); v2) {
    v2 >> quota_us >> period_us;
  } else {
    std::ifstream(root + "/cpu/cpu.cfs_quota_us") >> quota_us;  // -1: no quota
    std::ifstream(root + "/cpu/cpu.cfs_period_us") >> period_us;
  }
  if (quota_us <= 0 || period_us <= 0) return std::nullopt;
  return static_cast<int>(std::min(kMost, std::ceil(quota_us / period_us)));
}

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  const int cores = std::max(1, CPU_COUNT(&set));
  return std::min(cores, CpuQuota("/sys/fs/cgroup").value_or(cores));
}

}  // namespace vitower
