#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/embedding.h"
#include "model/encoder.h"

namespace vitower {

// The wanted outputs of one item of a forward pass, as TensorNames lists them but for the grid, in `dtype`. INTERNAL
// where one holds a value that is not finite, OUT_OF_RANGE where one does not fit fp16; the message names it.
// REQUIRES: the pass computed what `outputs` and `levels` need.
absl::StatusOr<std::vector<NamedTensor>> ItemTensors(const EncodedBatch& batch, size_t item, const GridThw& grid,
                                                     const WantedOutputs& outputs, const std::vector<uint32_t>& levels,
                                                     DType dtype);

}  // namespace vitower
