#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/clip_flags.h"
#include "cli/image_flags.h"
#include "cli/inputs.h"
#include "model/encoder.h"
#include "preprocess/frames.h"
#include "preprocess/image.h"
#include "preprocess/video.h"

namespace vitower {

// What a clip's answer tells of its frames.
struct ClipSummary {
  std::vector<int64_t> frame_indices;  // of those taken, in the whole clip
  std::optional<double> source_fps;
  std::vector<double> slice_timestamps;  // seconds
  bool padded = false;
};

// An image or clip, sized for the tower.
struct Prepared {
  Frames frames;
  std::optional<ClipSummary> clip;  // unset: an image
  double decode_seconds = 0;        // reading the header included
  double resize_seconds = 0;
};

// From files to frames, as the server does it. Thread-safe.
class Preparer final {
 public:
  // What the model says and the flags override. Without `video_processor` clips are refused.
  // INVALID_ARGUMENT where flags contradict each other or the model's limits.
  static absl::StatusOr<Preparer> Create(const ImageFlags& image, const ClipFlags& clip, const TowerConfig& tower,
                                         const ImageProcessorConfig& image_processor,
                                         const std::optional<VideoProcessorConfig>& video_processor);

  absl::StatusOr<Prepared> Prepare(const InputFile& file) const;

 private:
  Preparer() = default;

  absl::StatusOr<Prepared> PrepareImage(absl::Span<const uint8_t> bytes) const;
  absl::StatusOr<Prepared> PrepareClip(absl::Span<const uint8_t> bytes) const;

  bool gif_clips_ = false;
  ImageOptions image_options_;
  std::optional<ClipOptions> clip_options_;
  SamplingOptions sampling_;
};

}  // namespace vitower
