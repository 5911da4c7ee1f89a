#pragma once

#include <optional>
#include <string>

namespace vitower {

// The cores that the CPU quota of a control group (v2, else v1) allows, rounded up; nothing where there is no quota.
// `root` is where the group is seen: /sys/fs/cgroup in a container. Reads two small files.
std::optional<int> CpuQuota(const std::string& root);

}  // namespace vitower
