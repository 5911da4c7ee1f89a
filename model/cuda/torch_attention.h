// private header
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "model/cuda/batch_plan.h"
#include "model/cuda/kernels.h"

namespace vitower {

// What libtorch's attention is asked for: rows [q | k | v], turned, and the segments they form.
struct SegmentAttention {
  Element element;
  int device;
  cudaStream_t stream;
  void* qkv;                                    // [rows, 3 * heads * head_dim]
  const int32_t* device_offsets;                // [segments + 1]
  const std::vector<int32_t>* segment_offsets;  // the same, on the host
  int64_t longest;
  int64_t heads;
  int64_t head_dim;
};

// An output in memory of libtorch's allocator: [rows, heads * head_dim].
struct AttentionOutput {
  std::shared_ptr<const void> hold;
  const void* data = nullptr;
};

// Attention by libtorch, for what our own kernel does not take or takes slower: FlashAttention 2, or the formula itself
// in fp32. Asynchronous, never captured. Throws c10::Error, a std::exception.
AttentionOutput AttendWithTorch(AttentionKind kind, const SegmentAttention& batch);

}  // namespace vitower
