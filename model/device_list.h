// private header
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vitower {

// What computes: the indexes of CUDA devices, or none for the CPU. "cpu", "cuda:N", several of those with commas
// between, or "cuda:all". `count` says how many devices there are; it is asked only where a GPU is named.
// INVALID_ARGUMENT for other texts; FAILED_PRECONDITION for a device that is not there, with their number, or as
// `count` fails.
absl::StatusOr<std::vector<int>> ParseDevices(std::string_view text, const std::function<absl::StatusOr<int>()>& count);

}  // namespace vitower
