#pragma once

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "preprocess/image.h"
#include "preprocess/resample_weights.h"

namespace vitower {

inline constexpr int kHorizontalRows = 4;       // one call of a horizontal kernel resamples up to so many rows
inline constexpr int64_t kHorizontalSlack = 4;  // bytes past its last tap that a horizontal kernel may read

// The two passes for one instruction set. All sets give the same bytes.
struct ResampleKernels {
  const char* name;
  bool (*supported)();  // by the processor that runs this

  // Rows of RGB pixels: `rows` in [1, kHorizontalRows]. Each input row must be readable up to
  // 3 * (first[i] + taps) + kHorizontalSlack bytes for every i; what stands past the row's own end does not matter.
  void (*horizontal)(const uint8_t* const* input, uint8_t* const* output, int rows, const AxisWeights& axis);

  // One row of `bytes` bytes from `count` rows of as many; `weights` holds count + count % 2 values.
  void (*vertical)(const uint8_t* const* input, int64_t count, const int16_t* weights, int precision, uint8_t* output,
                   int64_t bytes);
};

const ResampleKernels& ScalarKernels();
const ResampleKernels& Avx2Kernels();  // `supported` is false on other architectures
const ResampleKernels& BestKernels();  // of those supported here

// What ResampleBicubic does, with the kernels chosen by the caller: for tests.
void ResampleBicubicWith(const ResampleKernels& kernels, absl::Span<const uint8_t> input, ImageSize from,
                         absl::Span<uint8_t> output, ImageSize to);

}  // namespace vitower
