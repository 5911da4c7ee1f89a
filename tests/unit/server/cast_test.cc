#include "server/cast.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace vitower {
namespace {

// The value of an fp16 or bf16 pattern by the definition of the format, in double.
double ValueOf(uint16_t bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits & 0x7FFF) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

struct Format {
  const char* name;
  int exponent_bits;
  float (*load)(uint16_t);
  uint16_t (*store)(float);
};
class SixteenBits : public testing::TestWithParam<Format> {};

TEST_P(SixteenBits, EveryPatternLoadsAsItsValue) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const double value = ValueOf(static_cast<uint16_t>(bits), GetParam().exponent_bits);
    const float loaded = GetParam().load(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(loaded)) << std::hex << bits;
    } else {
      ASSERT_EQ(loaded, value) << std::hex << bits;
      ASSERT_EQ(std::signbit(loaded), std::signbit(value)) << std::hex << bits;
    }
  }
}

TEST_P(SixteenBits, EveryPatternSurvivesTheWayThroughFp32) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float loaded = GetParam().load(static_cast<uint16_t>(bits));
    const uint16_t back = GetParam().store(loaded);
    if (std::isnan(loaded)) {
      ASSERT_TRUE(std::isnan(GetParam().load(back))) << std::hex << bits;
    } else {
      ASSERT_EQ(back, bits) << std::hex << bits;
    }
  }
}

// Between each finite pattern and the next: just below the middle goes down, just above up, the middle to the even one.
TEST_P(SixteenBits, RoundsToNearestAndTiesToEven) {
  for (uint32_t bits = 0; bits < 0x7FFF; ++bits) {
    const float low = GetParam().load(static_cast<uint16_t>(bits));
    const float high = GetParam().load(static_cast<uint16_t>(bits + 1));
    if (!std::isfinite(low) || !std::isfinite(high)) continue;
    const double middle = (static_cast<double>(low) + static_cast<double>(high)) / 2;
    const auto exact = static_cast<float>(middle);
    if (exact != middle) continue;  // below fp32's own subnormals there is no middle
    const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(GetParam().store(exact), even) << std::hex << bits;
    ASSERT_EQ(GetParam().store(std::nextafter(exact, 0.0F)), bits) << std::hex << bits;
    ASSERT_EQ(GetParam().store(std::nextafter(exact, high * 2)), bits + 1) << std::hex << bits;
    ASSERT_EQ(GetParam().store(-exact), even | 0x8000) << std::hex << bits;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, SixteenBits,
                         testing::Values(Format{"bf16", 8, FloatFromBf16, Bf16FromFloat},
                                         Format{"fp16", 5, FloatFromFp16, Fp16FromFloat}),
                         [](const auto& format) { return std::string(format.param.name); });

template <typename T>
absl::Span<const std::byte> Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(T)};
}
template <typename T>
absl::Span<std::byte> MutableBytes(std::vector<T>& values) {
  return {reinterpret_cast<std::byte*>(values.data()), values.size() * sizeof(T)};
}

TEST(Cast, LargestFp16FitsAndTheNextDoesNot) {
  std::vector<uint16_t> halves(1);
  EXPECT_TRUE(Cast(Bytes<float>({65519.0F}), DType::kFp32, MutableBytes(halves), DType::kFp16));
  EXPECT_EQ(halves[0], 0x7BFF);
  EXPECT_FALSE(Cast(Bytes<float>({65520.0F}), DType::kFp32, MutableBytes(halves), DType::kFp16));
}

TEST(Cast, AnInfinityIsNotAnOverflow) {
  std::vector<uint16_t> halves(1);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(Cast(Bytes<float>({infinity}), DType::kFp32, MutableBytes(halves), DType::kFp16));
  EXPECT_EQ(halves[0], 0x7C00);
}

TEST(Cast, ConvertsBetweenTheSixteenBitFormats) {
  const std::vector<uint16_t> bf16 = {Bf16FromFloat(1.5F), Bf16FromFloat(-0.25F), Bf16FromFloat(300.0F)};
  std::vector<uint16_t> fp16(3);
  EXPECT_TRUE(Cast(Bytes(bf16), DType::kBf16, MutableBytes(fp16), DType::kFp16));
  EXPECT_EQ(FloatFromFp16(fp16[0]), 1.5F);
  EXPECT_EQ(FloatFromFp16(fp16[1]), -0.25F);
  EXPECT_EQ(FloatFromFp16(fp16[2]), 300.0F);
}

TEST(AllFinite, FindsOneBadValueAmongMany) {
  std::vector<float> values(1000, 1.0F);
  EXPECT_TRUE(AllFinite(Bytes(values), DType::kFp32));
  values[999] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(AllFinite(Bytes(values), DType::kFp32));
  EXPECT_FALSE(AllFinite(Bytes<uint16_t>({0x3C00, 0x7C00}), DType::kFp16));
  EXPECT_TRUE(AllFinite(Bytes<uint16_t>({0x3C00, 0x7C00}), DType::kBf16));
  EXPECT_FALSE(AllFinite(Bytes<uint16_t>({0x3C00, 0xFF80}), DType::kBf16));
}

TEST(MeanOfRows, IsTheMeanOfEachColumn) {
  std::vector<float> mean(2);
  MeanOfRows(Bytes<float>({1, 10, 2, 20, 6, 60}), DType::kFp32, 2, absl::MakeSpan(mean));
  EXPECT_EQ(mean, (std::vector<float>{3, 30}));
}

TEST(MeanOfRows, LosesNothingOverManyRows) {
  const std::vector<uint16_t> ones(1 << 20, Bf16FromFloat(0.1F));
  std::vector<float> mean(1);
  MeanOfRows(Bytes(ones), DType::kBf16, 1, absl::MakeSpan(mean));
  EXPECT_EQ(mean[0], FloatFromBf16(Bf16FromFloat(0.1F)));
}

}  // namespace
}  // namespace vitower
