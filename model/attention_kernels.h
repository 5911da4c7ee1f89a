#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "model/bf16.h"
#include "model/isa_limits.h"

namespace vitower {

// One head of one segment, or some queries of it. T is the type of what is read and written.
template <typename T>
struct HeadTask {
  const T* qkv;         // the head's q in the segment's first row; its k and v stand hidden and 2 * hidden further on
  const float* rotary;  // [length, head_dim], rows of MakeRotaryTable: q and k are turned by them on their way in
  T* out;               // the head's place in the segment's first row of output, rows `hidden` apart
  int64_t hidden;       // heads * head_dim; rows of qkv are 3 * hidden apart
  int64_t head_dim;
  int64_t length;       // rows of the segment: keys
  int64_t first_query;  // this task's queries: of its rows [first_query, first_query + queries)
  int64_t queries;
};

// Attention of one head, out = softmax(q k^T / sqrt(head_dim)) v, for one instruction set. Keys and values are packed
// once a task; then a block of queries goes over blocks of keys with a running maximum and sum in fp32, so that scores
// never leave the nearest caches. Thread-safe on tasks that write different rows. NaN and infinities come out as NaN.
struct AttentionKernel {
  const char* name;
  KernelIsa isa;
  int64_t min_head_dim;  // takes multiples of 4 from here on

  // Memory that a task needs, in bytes; to be aligned to kAttentionAlignment.
  int64_t (*scratch_bytes)(int64_t length, int64_t head_dim);

  // Null where another kernel is meant for the type.
  void (*run_bf16)(const HeadTask<Bf16>& task, void* scratch);
  void (*run_fp32)(const HeadTask<float>& task, void* scratch);

  bool supported() const { return ProcessorHas(isa); }
};

inline constexpr int64_t kAttentionAlignment = 64;

const AttentionKernel& Avx2Attention();        // products in fp32, whatever the type
const AttentionKernel& Avx512Attention();      // the same
const AttentionKernel& Avx512Bf16Attention();  // bf16 only: products of bf16, q, k and the weights of v rounded to it

// All of them, the fastest first; none on other architectures than x86-64.
absl::Span<const AttentionKernel* const> AttentionKernels();

}  // namespace vitower
