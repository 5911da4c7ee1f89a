#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/encoder.h"
#include "tests/support/test_images.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// Different ones, none of them a mark of the puppet's.
std::vector<Colour> Colours(int count);

// An item of each source but the plainest.
v1::Item VideoItem(const std::string& bytes);
v1::Item FramesItem(int64_t width, int64_t height, const std::vector<Colour>& frames);  // BMPs
v1::Item RgbItem(int64_t width, int64_t height, const std::vector<Colour>& pictures, uint32_t frames);
// Rows of 1,536 values, all of a row the same small number.
v1::Item PatchesItem(const GridThw& grid, DType dtype);

}  // namespace vitower
