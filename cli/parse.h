#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

// Text of a flag, an environment variable or a config file to values. Each refuses what it cannot read in full with
// INVALID_ARGUMENT that quotes the text and says what was expected. Thread-safe.

absl::StatusOr<int64_t> ParseInt(std::string_view text);    // "1024", "-1"
absl::StatusOr<double> ParseNumber(std::string_view text);  // "2.5"
absl::StatusOr<bool> ParseBool(std::string_view text);      // true/false, yes/no, on/off, 1/0
absl::StatusOr<int64_t> ParseBytes(std::string_view text);  // "512", "64MB" (10^6), "256MiB" (2^20)
absl::StatusOr<std::chrono::microseconds> ParseDuration(std::string_view text);  // "0", "200us", "5ms", "30s", "2min"
absl::StatusOr<DType> ParseDType(std::string_view text);                         // "bf16", "fp16", "fp32"
absl::StatusOr<std::array<uint8_t, 3>> ParseColor(std::string_view text);        // "#rrggbb" or "rrggbb"

// Which outputs to write: "tokens", "deepstack" (all levels), "deepstack_1" (one), "pooled", "pooled_slices", separated
// by commas.
struct WantedOutputs {
  bool tokens = false;
  bool all_deepstack = false;
  std::vector<uint32_t> deepstack_levels;  // ascending, without repeats
  bool pooled = false;                     // the mean of all tokens
  bool pooled_slices = false;              // the mean of each temporal slice's
  bool l2_normalize = false;               // pooled and pooled_slices to length 1; not part of the text
};
absl::StatusOr<WantedOutputs> ParseOutputs(std::string_view text);

}  // namespace vitower
