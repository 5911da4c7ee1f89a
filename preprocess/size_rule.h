#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "preprocess/image.h"

namespace vitower {

// What the size rules of images and clips share. Bounds keep every product of an image exact in a double, as Python's
// integers are.
struct SizeRule {
  int64_t factor = 0;      // both sides become multiples of it
  int64_t min_pixels = 0;  // times frames
  int64_t max_pixels = 0;
};

absl::Status CheckSizeRule(const SizeRule& rule);

// Positive sides, an aspect ratio of at most 200.
absl::Status CheckSides(ImageSize size);

// patch_size * spatial_merge_size, where both make sense.
absl::StatusOr<int64_t> SizeFactor(int64_t patch_size, int64_t spatial_merge_size);

// Both sides are multiples of the factor already: what do_resize = false asks for.
absl::Status CheckMultiples(ImageSize size, int64_t factor);

// Sides rounded half to even to multiples, then fitted into [min_pixels, max_pixels]. `frames` is 1 for an image;
// `rounded_frames` is what of it counts in the comparison. REQUIRES: what the checks above check.
ImageSize FitSize(ImageSize size, const SizeRule& rule, int64_t frames = 1, int64_t rounded_frames = 1);

}  // namespace vitower
