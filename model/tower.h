#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "model/encoder.h"
#include "model/load.h"
#include "model/tower_source.h"

namespace vitower {

struct TowerOptions {
  DType dtype = DType::kBf16;  // bf16 or fp32
  int threads = 1;             // of torch's pool
  StageObserver observer;      // may be empty
};

// Builds the tower on the CPU, letting go of each tensor of `source` once it is taken over. `info` is handed out as it
// is, with weight_bytes filled in. INTERNAL where torch fails.
absl::StatusOr<std::unique_ptr<Encoder>> MakeCpuTower(TowerSource source, EncoderInfo info,
                                                      const TowerOptions& options);

}  // namespace vitower
