#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "preprocess/image.h"

namespace vitower {

// The way back, for programs that make up pictures to send. Thread-safe. INVALID_ARGUMENT where the picture is empty
// or larger than the format allows, INTERNAL where the encoder fails.

// `quality` of a JPEG: 1 to 100. WebP, BMP and GIF are not written: UNIMPLEMENTED.
absl::StatusOr<std::string> EncodeImage(const RgbImage& image, ImageFormat format, int quality = 90);

// An MPEG-4 clip in Matroska. All frames must be of one size with even sides.
absl::StatusOr<std::string> EncodeClip(const std::vector<RgbImage>& frames, int fps);

}  // namespace vitower
