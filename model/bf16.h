#pragma once

#include <bit>
#include <cstdint>

namespace vitower {

// bfloat16 as its bits.
using Bf16 = uint16_t;

inline float ToFloat(Bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }
inline float ToFloat(float value) { return value; }

// Rounds to nearest even, as torch and oneDNN do; NaN stays NaN.
inline void Store(float value, Bf16& out) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40U;
  out = static_cast<Bf16>((bits & 0x7FFFFFFFU) > 0x7F800000U ? nan : rounded);
}
inline void Store(float value, float& out) { out = value; }

}  // namespace vitower
