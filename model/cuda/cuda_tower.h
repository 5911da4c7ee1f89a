#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/cuda/batch_rules.h"
#include "model/encoder.h"
#include "model/load.h"
#include "model/tower_source.h"

namespace vitower {

struct CudaTowerOptions {
  int device = 0;
  BatchRules rules;
  StageObserver observer;                             // may be empty
  std::function<void(std::string_view message)> log;  // may be empty
};

// How many CUDA devices there are. FAILED_PRECONDITION where this build has no CUDA, or there are none that it can use.
absl::StatusOr<int> CountCudaDevices();

// Builds the tower on a CUDA device and warms it up: weights, GEMM algorithms, graphs; blocks for as long as that takes
// (seconds). The two encoders are of the one tower: while a pass of one is computed, the items of the other's travel.
// `info` is handed out as it is, with weight_bytes filled in; info.dtype is what it computes in.
// FAILED_PRECONDITION where this build has no CUDA, the device is not there or too old, or fp16 overflows in this
// tower; INVALID_ARGUMENT for a tower that the kernels do not take; RESOURCE_EXHAUSTED where memory runs out.
absl::StatusOr<std::vector<std::unique_ptr<Encoder>>> MakeCudaTower(TowerSource source, EncoderInfo info,
                                                                    const CudaTowerOptions& options);

}  // namespace vitower
