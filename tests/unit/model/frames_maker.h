#pragma once

#include <random>
#include <utility>
#include <vector>

#include "model/encoder.h"

namespace vitower {

// A clip of random pixels for the tiny tower (and any other with patches of 16 x 16 x 2); one frame is a still.
inline Frames RandomClip(int64_t frame_count, int64_t grid_h, int64_t grid_w, uint32_t seed) {
  Frames frames;
  frames.grid = {(frame_count + 1) / 2, grid_h, grid_w};
  frames.frame_count = frame_count;
  frames.height = grid_h * 16;
  frames.width = grid_w * 16;
  std::vector<uint8_t> rgb(frame_count * frames.height * frames.width * 3);
  std::mt19937 random(seed);
  for (uint8_t& value : rgb) value = static_cast<uint8_t>(random());
  frames.rgb = std::move(rgb);
  return frames;
}

inline Frames RandomStill(int64_t grid_h, int64_t grid_w, uint32_t seed) { return RandomClip(1, grid_h, grid_w, seed); }

// Frames [begin, end) of a clip, as a clip of its own.
inline Frames PartOf(const Frames& clip, int64_t begin, int64_t end) {
  const int64_t frame_bytes = clip.height * clip.width * 3;
  Frames part = clip;
  part.frame_count = end - begin;
  part.grid.t = (end - begin + 1) / 2;
  part.rgb = std::vector<uint8_t>(clip.rgb.begin() + begin * frame_bytes, clip.rgb.begin() + end * frame_bytes);
  return part;
}

}  // namespace vitower
