#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

// What a checkpoint holds and what serving it would take.
struct CheckpointSummary {
  std::string folder;  // or "random:SHAPE", which has no prefix and no files
  std::string prefix;  // of the tower's tensors: "model.visual.", "visual." or "vision_tower."
  std::vector<std::string> files;
  DType stored_dtype = DType::kBf16;
  int64_t tensor_count = 0;  // of the tower
  int64_t parameter_count = 0;
  int64_t weight_bytes = 0;  // as stored
  TowerConfig tower;
  ImageProcessorConfig image_processor;
  std::optional<VideoProcessorConfig> video_processor;  // unset: clips are refused
};

// Checks a model, a folder or "random:SHAPE", as LoadEncoder with this `dtype` (unset: the checkpoint's own) does on a
// CPU, without building a tower: fails where serving would.
absl::StatusOr<CheckpointSummary> InspectCheckpoint(const std::string& model, std::optional<DType> dtype = {});

}  // namespace vitower
