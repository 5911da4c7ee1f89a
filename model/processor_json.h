#pragma once

#include <filesystem>
#include <optional>

#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

// The two processors that a checkpoint folder describes: limits, normalisation, sampling. Where both files are there,
// what is inside processor_config.json counts, as in the reference. Every error names file and key, what it holds and
// what was expected; settings that the server's own preprocessing would contradict are refused.

// image_processor inside processor_config.json, or preprocessor_config.json.
absl::StatusOr<ImageProcessorConfig> ReadImageProcessor(const std::filesystem::path& folder, const TowerConfig& tower);

// video_processor inside processor_config.json, or video_preprocessor_config.json; nothing where neither is there.
// `image`: of the same folder; the two must normalise alike.
absl::StatusOr<std::optional<VideoProcessorConfig>> ReadVideoProcessor(const std::filesystem::path& folder,
                                                                       const TowerConfig& tower,
                                                                       const ImageProcessorConfig& image);

}  // namespace vitower
