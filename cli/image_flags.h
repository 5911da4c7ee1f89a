#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "cli/options.h"
#include "model/encoder.h"
#include "preprocess/image.h"

namespace vitower {

// The preprocessing flags that embed and preprocess share. What is unset keeps the model's value.
struct ImageFlags {
  std::optional<int64_t> min_pixels;  // areas of the resized image
  std::optional<int64_t> max_pixels;
  bool no_resize = false;  // holds for clips too
  bool no_exif = false;
  std::optional<std::array<uint8_t, 3>> background;
};

void AddImageFlags(Options& options, ImageFlags* flags);

// INVALID_ARGUMENT where the smallest area is above the largest.
absl::StatusOr<ImageOptions> ToImageOptions(const ImageFlags& flags, const TowerConfig& tower,
                                            const ImageProcessorConfig& processor);

}  // namespace vitower
