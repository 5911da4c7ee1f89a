#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/encoder.h"

namespace vitower {

struct TensorSpec {
  std::string name;  // without prefix
  std::vector<int64_t> shape;

  int64_t element_count() const {
    int64_t count = 1;
    for (const int64_t side : shape) count *= side;
    return count;
  }
};

inline constexpr std::string_view kPatchWeight = "patch_embed.proj.weight";

// Every tensor that a tower of this shape has, and no other. The patch embedding's weight is given as the Linear
// [D, 1536]; checkpoints hold it as the Conv3d [D, 3, 2, 16, 16] too.
std::vector<TensorSpec> TowerTensors(const TowerConfig& tower);

// The patch embedding's weight as the Conv3d's: [D, 3, 2, 16, 16].
std::vector<int64_t> ConvShape(const TowerConfig& tower);

}  // namespace vitower
