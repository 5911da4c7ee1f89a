// private header
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace vitower {

// `count` segments of `length` rows each, one after another from row `first`: slices that attend only to themselves.
struct SegmentRun {
  int64_t first;
  int64_t length;
  int64_t count;
};

// Multi-head attention inside each segment. qkv: [rows, 3 * heads * head_dim], contiguous; the runs cover it in order
// from row 0; rows behind the last run come back as zeros. Returns [rows, heads * head_dim]. Equal segments that stand
// together go through one call, without copies.
at::Tensor Attend(const at::Tensor& qkv, const std::vector<SegmentRun>& runs, int64_t heads, int64_t head_dim);

}  // namespace vitower
