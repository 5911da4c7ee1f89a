#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace vitower {

// The bytes that a control group (v2, else v1) may use; nothing where it has no limit. `root` is where the group is
// seen: /sys/fs/cgroup in a container. Reads one small file.
std::optional<int64_t> MemoryLimit(const std::string& root);

// What this process may use: the machine's memory or its group's limit, whichever is less. What limits left to the
// program are made of.
int64_t UsableMemoryBytes();

}  // namespace vitower
