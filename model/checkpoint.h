#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tower_source.h"

namespace vitower {

// A checkpoint folder, opened and checked: configuration, processor, and every tensor of the tower mapped but not read.
struct Checkpoint {
  std::string prefix;              // "model.visual.", "visual." or "vision_tower."
  std::vector<std::string> files;  // that hold the tower's tensors, by name
  TowerSource source;
};

// Refuses a folder that would not serve, naming file or tensor: unreadable or contradictory JSON, a missing shard, a
// tensor that is missing, misshapen, not of a float dtype or not of this tower (a depth that lies shows so).
absl::StatusOr<Checkpoint> OpenCheckpoint(const std::filesystem::path& folder);

}  // namespace vitower
