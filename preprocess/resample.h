#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "preprocess/image.h"

namespace vitower {

// The antialiased bicubic (Keys, a = -0.5) on interleaved uint8 RGB, byte-exact to torch's uint8 CPU kernel
// (aten::_upsample_bicubic2d_aa, align_corners false): int16 weights of the largest precision that fits, horizontal
// pass first, both passes rounded and clamped to uint8, an axis whose size does not change is skipped.
// OpenCV's bicubic is another function (a = -0.75, no antialiasing), so this one is our own.
// Weight tables depend on (in, out) only and are cached per thread. Thread-safe.
// REQUIRES: both sizes positive; input.size() == from.height * from.width * 3; output.size() likewise for `to`.
void ResampleBicubic(absl::Span<const uint8_t> input, ImageSize from, absl::Span<uint8_t> output, ImageSize to);

}  // namespace vitower
