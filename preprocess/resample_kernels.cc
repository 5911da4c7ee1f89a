#include "preprocess/resample_kernels.h"

#include <algorithm>

namespace vitower {
namespace {

uint8_t ToByte(int32_t sum, int precision) { return static_cast<uint8_t>(std::clamp(sum >> precision, 0, 255)); }

void HorizontalScalar(const uint8_t* const* input, uint8_t* const* output, int rows, const AxisWeights& axis) {
  for (int row = 0; row < rows; ++row) {
    uint8_t* out = output[row];
    for (size_t x = 0; x < axis.first.size(); ++x, out += 3) {
      const uint8_t* in = input[row] + 3 * axis.first[x];
      const int16_t* weights = &axis.values[x * static_cast<size_t>(axis.taps)];
      int32_t red = 1 << (axis.precision - 1);
      int32_t green = red;
      int32_t blue = red;
      for (int32_t j = 0; j < axis.count[x]; ++j, in += 3) {
        red += in[0] * weights[j];
        green += in[1] * weights[j];
        blue += in[2] * weights[j];
      }
      out[0] = ToByte(red, axis.precision);
      out[1] = ToByte(green, axis.precision);
      out[2] = ToByte(blue, axis.precision);
    }
  }
}

void VerticalScalar(const uint8_t* const* input, int64_t count, const int16_t* weights, int precision, uint8_t* output,
                    int64_t bytes) {
  for (int64_t x = 0; x < bytes; ++x) {
    int32_t sum = 1 << (precision - 1);
    for (int64_t j = 0; j < count; ++j) sum += input[j][x] * weights[j];
    output[x] = ToByte(sum, precision);
  }
}

}  // namespace

const ResampleKernels& ScalarKernels() {
  static constexpr ResampleKernels kKernels = {"scalar", [] { return true; }, HorizontalScalar, VerticalScalar};
  return kKernels;
}

const ResampleKernels& BestKernels() {
  static const ResampleKernels& best = Avx2Kernels().supported() ? Avx2Kernels() : ScalarKernels();
  return best;
}

}  // namespace vitower
