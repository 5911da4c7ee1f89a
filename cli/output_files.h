#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "cli/output_plan.h"

namespace vitower {

// A tensor on its way into a file.
struct NamedTensor {
  std::string name;   // "tokens", "grid_thw", ...
  std::string dtype;  // as safetensors names it: "BF16", "F16", "F32", "I64"
  std::vector<int64_t> shape;
  std::string data;  // raw little-endian values, row-major
};

// Writes the tensors of one result: one .safetensors file, or for .npy the first tensor as `path` and each other as a
// sibling (x.npy, x.deepstack_0.npy, x.grid_thw.npy); numpy has no bf16, so it is widened to float32 there. Creates
// missing folders. A file appears complete or not at all.
absl::Status WriteTensors(const std::filesystem::path& path, FileFormat format, absl::Span<const NamedTensor> tensors,
                          const std::map<std::string, std::string>& metadata);

}  // namespace vitower
