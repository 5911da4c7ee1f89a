#include "model/grid_tables.h"

#include <algorithm>
#include <cmath>

namespace vitower {
namespace {

constexpr double kRotaryBase = 10000.0;

struct AxisTaps {
  int64_t low;
  int64_t high;
  float high_weight;
};

AxisTaps TapsAt(int64_t index, int64_t size, int64_t side) {
  const float source =
      static_cast<float>(index) * static_cast<float>(side - 1) / static_cast<float>(std::max<int64_t>(size - 1, 1));
  const float floor = std::floor(source);
  const auto low = static_cast<int64_t>(floor);
  return {std::min(low, side - 1), std::min(low + 1, side - 1), source - floor};
}

}  // namespace

// Rounded to float32 where the reference rounds: its table of frequencies, and their product with the position.
std::vector<float> InverseFrequencies(int64_t head_dim) {
  std::vector<float> frequencies;
  for (int64_t k = 0; k < head_dim / 4; ++k) {
    const double exponent = 4.0 * static_cast<double>(k) / static_cast<double>(head_dim);
    frequencies.push_back(static_cast<float>(std::pow(kRotaryBase, -exponent)));
  }
  return frequencies;
}

std::vector<PatchPlace> MergeBlockOrder(int64_t grid_h, int64_t grid_w, int64_t merge) {
  std::vector<PatchPlace> places;
  places.reserve(grid_h * grid_w);
  for (int64_t block_row = 0; block_row < grid_h; block_row += merge) {
    for (int64_t block_col = 0; block_col < grid_w; block_col += merge) {
      for (int64_t i = 0; i < merge * merge; ++i) places.push_back({block_row + i / merge, block_col + i % merge});
    }
  }
  return places;
}

std::vector<PositionTaps> MakePositionTaps(int64_t grid_h, int64_t grid_w, int64_t side, int64_t merge) {
  std::vector<PositionTaps> taps;
  taps.reserve(grid_h * grid_w);
  for (const auto& [row, col] : MergeBlockOrder(grid_h, grid_w, merge)) {
    const AxisTaps y = TapsAt(row, grid_h, side);
    const AxisTaps x = TapsAt(col, grid_w, side);
    const float dy = y.high_weight;
    const float dx = x.high_weight;
    taps.push_back({{y.low * side + x.low, y.low * side + x.high, y.high * side + x.low, y.high * side + x.high},
                    {(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx}});
  }
  return taps;
}

std::vector<float> MakeRotaryTable(int64_t grid_h, int64_t grid_w, int64_t head_dim, int64_t merge) {
  const std::vector<float> frequencies = InverseFrequencies(head_dim);
  std::vector<float> table(grid_h * grid_w * head_dim);
  float* out = table.data();
  for (const auto& [row, col] : MergeBlockOrder(grid_h, grid_w, merge)) {
    float* cosines = out;
    float* sines = out + head_dim / 2;
    for (const int64_t position : {row, col}) {
      for (const float frequency : frequencies) {
        const double angle = static_cast<float>(position) * frequency;
        *cosines++ = static_cast<float>(std::cos(angle));
        *sines++ = static_cast<float>(std::sin(angle));
      }
    }
    out += head_dim;
  }
  return table;
}

}  // namespace vitower
