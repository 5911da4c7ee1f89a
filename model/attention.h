// private header
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention_kernels.h"

namespace vitower {

// `count` segments of `length` rows each, one after another from row `first`: slices that attend only to themselves.
struct SegmentRun {
  int64_t first;
  int64_t length;
  int64_t count;
};

struct AttentionShape {
  int64_t heads;
  int64_t head_dim;
};

// The kernel for a dtype on this machine: the fastest that the processor and IsaLimits allow. Null where torch's own
// attention is to be used.
const AttentionKernel* ChooseAttention(at::ScalarType dtype, int64_t head_dim);

// Multi-head attention inside each segment of one batch: how its work is divided is settled once, for every block.
// Work is cut by segment and head, and where those are too few for the threads by query; threads take the largest
// pieces first. Calls use torch's pool; one at a time. Throws c10::Error.
class BatchAttention final {
 public:
  // `runs` cover the batch in order from row 0. rotary: [rows, head_dim] fp32, rows of MakeRotaryTable. `kernel`:
  // from ChooseAttention; null for torch's own.
  BatchAttention(std::vector<SegmentRun> runs, at::Tensor rotary, AttentionShape shape, const AttentionKernel* kernel);

  // qkv: [rows, 3 * heads * head_dim], contiguous, fp32 or bf16; its q and k may be turned in place. Returns
  // [rows, heads * head_dim]; rows behind the last run come back as zeros.
  at::Tensor operator()(const at::Tensor& qkv) const;

 private:
  struct Piece {
    int64_t first;  // row
    int64_t length;
    int64_t head;
    int64_t first_query;
    int64_t queries;
  };

  void Divide();
  template <typename T>
  void Run(void (*run)(const HeadTask<T>&, void*), const at::Tensor& qkv, const at::Tensor& out) const;
  void RunTorch(const at::Tensor& qkv, const at::Tensor& out) const;

  const std::vector<SegmentRun> runs_;
  const at::Tensor rotary_;
  const AttentionShape shape_;
  const AttentionKernel* const kernel_;
  std::vector<Piece> pieces_;
  at::Tensor scratch_;  // [threads, bytes]
};

}  // namespace vitower
