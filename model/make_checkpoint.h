#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

// The named shapes: "2b", "4b", "8b", "32b" of Qwen3-VL and "tiny" (small enough for tests).
std::vector<std::string_view> ShapeNames();
absl::StatusOr<TowerConfig> NamedShape(std::string_view name);  // INVALID_ARGUMENT lists the names

struct CheckpointRecipe {
  std::string shape = "tiny";
  DType dtype = DType::kBf16;            // bf16 or fp32
  uint64_t seed = 0;                     // equal recipes give equal bytes
  bool outliers = false;                 // massive activations like those of trained towers
  int shards = 1;                        // safetensors files; more than one adds the index
  std::string prefix = "model.visual.";  // of every tensor name
  int threads = 1;                       // that draw the weights; no difference to the bytes
};

// Writes random weights in the hub's layout (config.json, preprocessor_config.json and
// video_preprocessor_config.json with the hub's limits, safetensors), drawn so that every part of the tower matters:
// norm weights 1 + 0.1 N, biases 0.1 N, position rows 0.5 N, linears N / sqrt(fan_in), q and k rows times 1.4. Creates
// `folder`; refuses one that already holds a config.json.
absl::Status WriteRandomCheckpoint(const std::filesystem::path& folder, const CheckpointRecipe& recipe);

}  // namespace vitower
