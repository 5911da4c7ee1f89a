#pragma once

#include "absl/status/status.h"
#include "model/encoder.h"

namespace vitower {

// Whether the tower can be built: each number in range, heads dividing the hidden size, rotary frequencies whole, the
// position table a square, DeepStack indexes ascending inside the depth, patches 16 x 16 x 2 merged 2 x 2.
// FAILED_PRECONDITION names the field, its value and what is expected.
absl::Status CheckTowerConfig(const TowerConfig& tower);

}  // namespace vitower
