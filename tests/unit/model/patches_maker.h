#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "model/bf16.h"
#include "model/patchify.h"

namespace vitower {

// IEEE half precision of a number from -1 to 1, rounded to nearest even.
inline uint16_t ToHalf(float value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const float magnitude = std::abs(value);
  if (magnitude < 0x1p-14F) return sign | static_cast<uint16_t>(std::lrint(magnitude * 0x1p24F));
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);  // magnitude == fraction * 2^exponent
  const auto mantissa = static_cast<int>(std::lrint(fraction * 0x1p11F));
  return sign | static_cast<uint16_t>(((exponent + 13) << 10) + mantissa);
}

// The bytes that a client sends for these values.
inline std::string Encoded(const std::vector<float>& values, DType dtype) {
  std::string bytes;
  for (const float value : values) {
    Bf16 rounded = 0;
    Store(value, rounded);
    const uint16_t half = dtype == DType::kFp16 ? ToHalf(value) : rounded;
    const void* from = dtype == DType::kFp32 ? static_cast<const void*>(&value) : &half;
    bytes.append(static_cast<const char*>(from), static_cast<size_t>(ByteSize(dtype)));
  }
  return bytes;
}

// The item as the reference processor would hand it to a client.
inline PatchRows PatchesOf(const Frames& frames, DType dtype = DType::kFp32) {
  return {Encoded(PixelValues(frames, TowerConfig{}, ImageProcessorConfig{}), dtype), dtype, frames.grid};
}

}  // namespace vitower
