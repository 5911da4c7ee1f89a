#include "server/cast.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

namespace vitower {
namespace {

constexpr uint32_t kFp32Exponent = 0x7F80'0000;

// How each dtype is stored and read.
struct Bf16 {
  using Stored = uint16_t;
  static constexpr Stored kExponent = 0x7F80;
  static float Load(Stored bits) { return FloatFromBf16(bits); }
  static Stored Store(float value) { return Bf16FromFloat(value); }
};
struct Fp16 {
  using Stored = uint16_t;
  static constexpr Stored kExponent = 0x7C00;
  static float Load(Stored bits) { return FloatFromFp16(bits); }
  static Stored Store(float value) { return Fp16FromFloat(value); }
};
struct Fp32 {
  using Stored = uint32_t;
  static constexpr Stored kExponent = kFp32Exponent;
  static float Load(Stored bits) { return std::bit_cast<float>(bits); }
  static Stored Store(float value) { return std::bit_cast<uint32_t>(value); }
};

template <typename Visit>
auto WithFormat(DType dtype, Visit visit) {
  switch (dtype) {
    case DType::kBf16:
      return visit(Bf16());
    case DType::kFp16:
      return visit(Fp16());
    default:
      return visit(Fp32());
  }
}

// Bytes of a string or of a tensor's slice need not be aligned.
template <typename Format>
typename Format::Stored Read(const std::byte* at) {
  typename Format::Stored bits;
  std::memcpy(&bits, at, sizeof(bits));
  return bits;
}

// Without their sign the bits of floating-point values are ordered as the values are; infinity and NaN come last. What
// is added takes `end` and all above to the highest bit, and the loop has no branch and no comparison: eight values a
// step with the instructions that every x86-64 has. REQUIRES: `end` has no sign.
template <typename Format>
bool MagnitudesBelow(absl::Span<const std::byte> values, typename Format::Stored end) {
  using Stored = typename Format::Stored;
  constexpr auto kSign = static_cast<Stored>(Stored{1} << (8 * sizeof(Stored) - 1));
  const auto distance = static_cast<Stored>(kSign - end);
  const size_t count = values.size() / sizeof(Stored);
  Stored seen = 0;
  for (size_t i = 0; i < count; ++i) {
    const Stored magnitude = Read<Format>(values.data() + i * sizeof(Stored)) & static_cast<Stored>(~kSign);
    seen = static_cast<Stored>(seen | static_cast<Stored>(magnitude + distance));
  }
  return (seen & kSign) == 0;
}

template <typename From, typename To>
bool CastValues(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
  const size_t count = from.size() / sizeof(typename From::Stored);
  bool fits = true;
  for (size_t i = 0; i < count; ++i) {
    const auto read = Read<From>(from.data() + i * sizeof(typename From::Stored));
    const auto written = To::Store(From::Load(read));
    fits &= (written & To::kExponent) != To::kExponent || (read & From::kExponent) == From::kExponent;
    std::memcpy(to.data() + i * sizeof(written), &written, sizeof(written));
  }
  return fits;
}

template <typename Format>
void SumRows(absl::Span<const std::byte> values, absl::Span<double> sums) {
  constexpr size_t kSize = sizeof(typename Format::Stored);
  const size_t row_bytes = sums.size() * kSize;
  for (size_t row = 0; row < values.size(); row += row_bytes) {
    for (size_t col = 0; col < sums.size(); ++col) {
      sums[col] += Format::Load(Read<Format>(values.data() + row + col * kSize));
    }
  }
}

}  // namespace

uint16_t Bf16FromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFF'FFFF) > kFp32Exponent) return static_cast<uint16_t>((bits >> 16) | 0x40);  // NaN stays NaN
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float FloatFromBf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t Fp16FromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7FFF'FFFF;
  uint32_t half = 0;
  if (magnitude > kFp32Exponent) {
    half = 0x7E00;
  } else if (magnitude >= 0x477F'F000) {  // 65,520: halfway from the largest fp16 to the next power of two
    half = 0x7C00;
  } else if (magnitude < 0x3880'0000) {  // below 2^-14: subnormal. Adding 0.5 rounds at 2^-24, half to even.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - std::bit_cast<uint32_t>(0.5F);
  } else {
    const uint32_t rebiased = magnitude - (uint32_t{127 - 15} << 23);
    half = (rebiased + 0xFFF + ((rebiased >> 13) & 1)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

float FloatFromFp16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1F;
  const uint32_t mantissa = bits & 0x3FF;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  const uint32_t rebiased = exponent == 0x1F ? 0xFF : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (rebiased << 23) | (mantissa << 13));
}

bool AllFinite(absl::Span<const std::byte> values, DType dtype) {
  return WithFormat(dtype, [&](auto format) {
    using Format = decltype(format);
    return MagnitudesBelow<Format>(values, Format::kExponent);
  });
}

bool AllWithin(absl::Span<const std::byte> values, DType dtype, float bound) {
  return WithFormat(dtype, [&](auto format) {
    using Format = decltype(format);
    return MagnitudesBelow<Format>(values, static_cast<typename Format::Stored>(Format::Store(bound) + 1));
  });
}

bool Cast(absl::Span<const std::byte> from, DType from_dtype, absl::Span<std::byte> to, DType to_dtype) {
  if (from_dtype == to_dtype) {
    std::copy(from.begin(), from.end(), to.begin());
    return true;
  }
  return WithFormat(from_dtype, [&](auto source) {
    return WithFormat(to_dtype, [&](auto target) { return CastValues<decltype(source), decltype(target)>(from, to); });
  });
}

void MeanOfRows(absl::Span<const std::byte> values, DType dtype, int64_t cols, absl::Span<float> mean) {
  std::vector<double> sums(static_cast<size_t>(cols));
  WithFormat(dtype, [&](auto format) { SumRows<decltype(format)>(values, absl::MakeSpan(sums)); });
  const double rows = static_cast<double>(values.size()) / static_cast<double>(cols * ByteSize(dtype));
  std::transform(sums.begin(), sums.end(), mean.begin(), [&](double sum) { return static_cast<float>(sum / rows); });
}

void ScaleToLengthOne(absl::Span<float> vector) {
  double squares = 0;
  for (const float value : vector) squares += static_cast<double>(value) * value;
  if (squares == 0) return;
  const double scale = 1 / std::sqrt(squares);
  for (float& value : vector) value = static_cast<float>(value * scale);
}

}  // namespace vitower
