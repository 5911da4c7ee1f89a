#include "preprocess/resample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "golden.h"
#include "preprocess/resample_kernels.h"

namespace vitower {
namespace {

size_t RgbBytes(ImageSize size) { return static_cast<size_t>(3 * size.height * size.width); }

std::vector<uint8_t> Resampled(const ResampleKernels& kernels, const std::vector<uint8_t>& input, ImageSize from,
                               ImageSize to) {
  std::vector<uint8_t> output(RgbBytes(to));
  ResampleBicubicWith(kernels, input, from, absl::MakeSpan(output), to);
  return output;
}

std::vector<const ResampleKernels*> SupportedKernels() {
  std::vector<const ResampleKernels*> kernels = {&ScalarKernels()};
  if (Avx2Kernels().supported()) kernels.push_back(&Avx2Kernels());
  return kernels;
}

class ResampleTest : public testing::TestWithParam<const ResampleKernels*> {};
INSTANTIATE_TEST_SUITE_P(Kernels, ResampleTest, testing::ValuesIn(SupportedKernels()),
                         [](const auto& kernels) { return std::string(kernels.param->name); });

TEST_P(ResampleTest, GivesTorchsBytesForEveryGoldenSize) {
  const nlohmann::json rows = GoldenJson("resample.json");
  EXPECT_GE(rows.size(), 60U);
  for (const auto& row : rows) {
    SCOPED_TRACE(row.dump());
    const ImageSize from = {.height = row[1], .width = row[2]};
    const ImageSize to = {.height = row[3], .width = row[4]};
    EXPECT_EQ(Sha256(Resampled(*GetParam(), Pattern(row[0], RgbBytes(from)), from, to)), row[5]);
  }
}

TEST_P(ResampleTest, AgreesWithTheScalarPathOnRandomSizes) {
  std::mt19937 random(9);
  const auto side = [&] {
    return 1 + static_cast<int64_t>(std::exp(std::uniform_real_distribution(0.0, 5.5)(random)));
  };
  for (uint64_t seed = 0; seed < 150; ++seed) {
    const ImageSize from = {.height = side(), .width = side()};
    const ImageSize to = {.height = side(), .width = side()};
    const std::vector<uint8_t> input = Pattern(seed, RgbBytes(from));
    ASSERT_EQ(Resampled(*GetParam(), input, from, to), Resampled(ScalarKernels(), input, from, to))
        << from.height << " x " << from.width << " -> " << to.height << " x " << to.width;
  }
}

TEST_P(ResampleTest, KeepsAFlatPictureFlat) {
  const std::vector<uint8_t> input(RgbBytes({.height = 33, .width = 70}), 77);
  const std::vector<uint8_t> output =
      Resampled(*GetParam(), input, {.height = 33, .width = 70}, {.height = 96, .width = 32});
  EXPECT_EQ(output, std::vector<uint8_t>(output.size(), 77));
}

TEST(Resample, CopiesAnImageThatHasTheSizeAlready) {
  const ImageSize size = {.height = 7, .width = 5};
  const std::vector<uint8_t> input = Pattern(1, RgbBytes(size));
  EXPECT_EQ(Resampled(BestKernels(), input, size, size), input);
}

TEST(Resample, PublicFunctionUsesTheBestKernels) {
  const ImageSize from = {.height = 50, .width = 61};
  const ImageSize to = {.height = 32, .width = 96};
  const std::vector<uint8_t> input = Pattern(3, RgbBytes(from));
  std::vector<uint8_t> output(RgbBytes(to));
  ResampleBicubic(input, from, absl::MakeSpan(output), to);
  EXPECT_EQ(output, Resampled(ScalarKernels(), input, from, to));
}

TEST(AxisWeights, CacheGivesTheTablesItWouldCompute) {
  for (int64_t in = 1; in < 60; ++in) {  // more tables than the cache holds
    const auto cached = CachedAxisWeights(in, 32);
    const AxisWeights made = MakeAxisWeights(in, 32);
    EXPECT_EQ(cached->first, made.first);
    EXPECT_EQ(cached->values, made.values);
    EXPECT_EQ(CachedAxisWeights(in, 32).get(), cached.get());
  }
}

}  // namespace
}  // namespace vitower
