#pragma once

#include <random>

#include "model/encoder.h"

namespace vitower {

// An item of random pixels for the tiny tower (and any other with patches of 16). frame_count 0: a still if grid_t
// is 1.
inline Frames RandomFrames(int64_t grid_t, int64_t grid_h, int64_t grid_w, uint32_t seed) {
  Frames frames;
  frames.grid = {grid_t, grid_h, grid_w};
  frames.frame_count = grid_t == 1 ? 1 : 2 * grid_t;
  frames.height = grid_h * 16;
  frames.width = grid_w * 16;
  frames.rgb.resize(frames.frame_count * frames.height * frames.width * 3);
  std::mt19937 random(seed);
  for (uint8_t& value : frames.rgb) value = static_cast<uint8_t>(random());
  return frames;
}

}  // namespace vitower
