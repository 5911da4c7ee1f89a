#pragma once

#include <optional>
#include <string>

namespace vitower {

// The cores that the CPU quota of a control group (v2, else v1) allows, rounded up; nothing where there is no quota.
// `root` is where the group is seen: /sys/fs/cgroup in a container. Reads two small files.
std::optional<int> CpuQuota(const std::string& root);

// How many threads of this process can run at once: its affinity mask and its CPU quota, whichever allows fewer; at
// least 1. What thread counts left to the program are made of.
int UsableCores();

}  // namespace vitower
