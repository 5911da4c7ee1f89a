#pragma once

#include <cstdint>
#include <vector>

namespace vitower {

// A grid of patches: temporal slices, rows, columns. Rows and columns are multiples of the merge size.
struct GridThw {
  int64_t t = 0;
  int64_t h = 0;
  int64_t w = 0;

  int64_t patches() const { return t * h * w; }
  bool operator==(const GridThw&) const = default;
};

// An image or clip as the tower takes it: decoded, upright, resized. What flows from preprocess/ to model/.
// A still is one frame; the tower doubles it in time where it makes patches.
struct Frames {
  int64_t frame_count = 0;   // 1 for a still, else a multiple of the temporal patch size.
  int64_t height = 0;        // pixels, == grid.h * patch size
  int64_t width = 0;         // pixels, == grid.w * patch size
  std::vector<uint8_t> rgb;  // [frame_count, height, width, 3] uint8
  GridThw grid;              // t == 1 for a still, else frame_count / temporal patch size
};

}  // namespace vitower
