#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

// What a tower stored as `stored` computes in on a CPU if `wanted` is asked for. INVALID_ARGUMENT for fp16.
absl::StatusOr<DType> ChooseCpuDType(std::optional<DType> wanted, DType stored);

}  // namespace vitower
