#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace vitower {

// The windows of one axis: output i is the sum over j < count[i] of input[first[i] + j] * values[i * taps + j], in
// fixed point of `precision` fractional bits. first[] never decreases. Weights beyond a window's count are 0.
struct AxisWeights {
  int64_t in = 0;
  int64_t out = 0;
  int64_t taps = 0;       // stored for each output, even
  int64_t max_count = 0;  // of the widest window
  int precision = 0;
  std::vector<int64_t> first;   // [out]
  std::vector<int32_t> count;   // [out]
  std::vector<int16_t> values;  // [out, taps]
};

// The rule of torch's uint8 antialiased bicubic. REQUIRES: in, out > 0.
AxisWeights MakeAxisWeights(int64_t in, int64_t out);

// The same, from this thread's cache of the tables used last.
std::shared_ptr<const AxisWeights> CachedAxisWeights(int64_t in, int64_t out);

}  // namespace vitower
