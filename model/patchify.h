#pragma once

#include <vector>

#include "model/encoder.h"
#include "preprocess/frames.h"

namespace vitower {

// pixel_values as the reference processor hands them out: [grid.patches(), 1536] fp32, normalised, in merge-block row
// order; the last frame is repeated to fill its slice, so that a still is doubled. The tower's upload stage makes the
// same rows. REQUIRES: frames.rgb.size() == frame_count * height * width * 3 and a grid that fits it.
std::vector<float> PixelValues(const Frames& frames, const TowerConfig& tower, const ImageProcessorConfig& processor);

}  // namespace vitower
