#include "model/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

namespace vitower {
namespace {

at::Tensor AttendRun(const at::Tensor& qkv, const SegmentRun& run, int64_t heads, int64_t head_dim) {
  const int64_t rows = run.length * run.count;
  const at::Tensor parts = qkv.narrow(0, run.first, rows).view({run.count, run.length, 3, heads, head_dim});
  const auto part = [&](int64_t i) { return parts.select(2, i).transpose(1, 2); };
  return at::scaled_dot_product_attention(part(0), part(1), part(2)).transpose(1, 2).reshape({rows, heads * head_dim});
}

}  // namespace

at::Tensor Attend(const at::Tensor& qkv, const std::vector<SegmentRun>& runs, int64_t heads, int64_t head_dim) {
  const auto rows = [](const SegmentRun& run) { return run.length * run.count; };
  if (runs.size() == 1 && rows(runs[0]) == qkv.size(0)) return AttendRun(qkv, runs[0], heads, head_dim);
  at::Tensor result = at::empty({qkv.size(0), heads * head_dim}, qkv.options());
  for (const SegmentRun& run : runs) {
    result.narrow(0, run.first, rows(run)).copy_(AttendRun(qkv, run, heads, head_dim));
  }
  const int64_t used = runs.back().first + rows(runs.back());
  result.narrow(0, used, qkv.size(0) - used).zero_();
  return result;
}

}  // namespace vitower
