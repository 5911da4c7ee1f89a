#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/encoder.h"

namespace vitower {

// One tensor of a tower, as stored.
struct TowerTensor {
  std::string name;                   // without the checkpoint's prefix: "blocks.0.norm1.weight"
  std::string dtype;                  // "BF16", "F16" or "F32"
  std::vector<int64_t> shape;         // patch_embed.proj.weight: [D, 1536], however it was stored
  absl::Span<const std::byte> bytes;  // row-major, little-endian; not necessarily aligned
  std::shared_ptr<const void> hold;   // keeps `bytes`; letting go of it frees the memory
};

// All that a tower is made of: complete, and checked against its configuration.
struct TowerSource {
  TowerConfig tower;
  ImageProcessorConfig image_processor;
  std::optional<VideoProcessorConfig> video_processor;
  DType dtype = DType::kBf16;        // the checkpoint's own
  std::vector<TowerTensor> tensors;  // in the order of TowerTensors()
};

}  // namespace vitower
