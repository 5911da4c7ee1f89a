#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "cli/options.h"
#include "model/encoder.h"
#include "preprocess/video.h"

namespace vitower {

// Which frames of a clip are taken and how large they become: the flags that embed and preprocess share. What is unset
// keeps the model's value.
struct ClipFlags {
  std::optional<double> fps;  // frames taken a second of clip
  std::optional<int64_t> num_frames;
  std::optional<int64_t> min_frames;
  std::optional<int64_t> max_frames;
  std::optional<std::chrono::microseconds> start;
  std::optional<std::chrono::microseconds> end;
  std::optional<int64_t> min_pixels;  // volumes of the resized clip: frames * height * width
  std::optional<int64_t> max_pixels;
  bool gif_clips = false;
};

void AddClipFlags(Options& options, ClipFlags* flags);

// INVALID_ARGUMENT, naming both flags, where two contradict each other.
absl::Status CheckClipFlags(const ClipFlags& flags);

SamplingOptions ToSamplingOptions(const ClipFlags& flags, const VideoProcessorConfig& processor);

// INVALID_ARGUMENT where the smallest volume is above the largest.
absl::StatusOr<ClipOptions> ToClipOptions(const ClipFlags& flags, const TowerConfig& tower,
                                          const VideoProcessorConfig& processor);

double Seconds(std::chrono::microseconds time);

}  // namespace vitower
