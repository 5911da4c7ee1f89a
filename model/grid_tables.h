#pragma once

#include <cstdint>
#include <vector>

namespace vitower {

// Tables that depend on a slice's grid (h, w) in patches only. All in merge-block order: the patches that merge into
// one token stand together, row by row.

struct PatchPlace {
  int64_t row;
  int64_t col;
};
std::vector<PatchPlace> MergeBlockOrder(int64_t grid_h, int64_t grid_w, int64_t merge);

// Where a patch takes its learned position from: four rows of the table and their weights (bilinear, corners aligned).
struct PositionTaps {
  int64_t row[4];
  float weight[4];
};
// `side`: of the square table. REQUIRES: grids > 0.
std::vector<PositionTaps> MakePositionTaps(int64_t grid_h, int64_t grid_w, int64_t side, int64_t merge);

// The head_dim / 4 frequencies of one axis, each rounded to float32 as the reference rounds them.
std::vector<float> InverseFrequencies(int64_t head_dim);

// [h * w, head_dim] fp32: the cosines of the head_dim / 2 angles of each patch, then their sines. The first half of the
// angles turns with the row, the second with the column. REQUIRES: head_dim % 4 == 0.
std::vector<float> MakeRotaryTable(int64_t grid_h, int64_t grid_w, int64_t head_dim, int64_t merge);

}  // namespace vitower
