#include "model/grid_tables.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/row_kernels.h"

namespace vitower {
namespace {

using Places = std::vector<std::pair<int64_t, int64_t>>;

TEST(GridTables, PatchesStandInMergeBlocks) {
  Places places;
  for (const auto& [row, col] : MergeBlockOrder(4, 4, 2)) places.emplace_back(row, col);
  EXPECT_EQ(places, (Places{{0, 0},
                            {0, 1},
                            {1, 0},
                            {1, 1},
                            {0, 2},
                            {0, 3},
                            {1, 2},
                            {1, 3},
                            {2, 0},
                            {2, 1},
                            {3, 0},
                            {3, 1},
                            {2, 2},
                            {2, 3},
                            {3, 2},
                            {3, 3}}));
}

// Bilinear sampling of f(row, col) = any bilinear function is exact: a plane tests taps and weights at once.
TEST(GridTables, PositionTapsSampleAPlaneWithCornersAligned) {
  constexpr int64_t kSide = 48;
  for (const auto& [h, w] : Places{{2, 2}, {14, 20}, {48, 48}, {330, 2}, {64, 100}}) {
    const auto taps = MakePositionTaps(h, w, kSide, 2);
    const auto order = MergeBlockOrder(h, w, 2);
    for (size_t i = 0; i < taps.size(); ++i) {
      double value = 0;
      for (int j = 0; j < 4; ++j) {
        ASSERT_LT(taps[i].row[j], kSide * kSide);
        const auto row = static_cast<double>(taps[i].row[j] / kSide);
        const auto col = static_cast<double>(taps[i].row[j] % kSide);
        value += taps[i].weight[j] * (3 * row + 5 * col + row * col);
      }
      const double row = 47.0 * static_cast<double>(order[i].row) / static_cast<double>(h - 1);
      const double col = 47.0 * static_cast<double>(order[i].col) / static_cast<double>(w - 1);
      ASSERT_NEAR(value, 3 * row + 5 * col + row * col, 2e-3) << h << " x " << w << " patch " << i;
    }
  }
}

TEST(GridTables, RotaryTurnsByRowThenByColumn) {
  for (const int64_t head_dim : {64, 72}) {
    const auto table = MakeRotaryTable(6, 10, head_dim, 2);
    const auto order = MergeBlockOrder(6, 10, 2);
    for (size_t i = 0; i < order.size(); ++i) {
      for (int64_t k = 0; k < head_dim / 2; ++k) {
        const auto position = static_cast<double>(k < head_dim / 4 ? order[i].row : order[i].col);
        const double exponent = 2.0 * static_cast<double>(k % (head_dim / 4)) / (static_cast<double>(head_dim) / 2);
        const double angle = position / std::pow(10000.0, exponent);
        const float* row = table.data() + i * static_cast<size_t>(head_dim);
        ASSERT_NEAR(row[k], std::cos(angle), 2e-6) << "patch " << i << " angle " << k;
        ASSERT_NEAR(row[head_dim / 2 + k], std::sin(angle), 2e-6) << "patch " << i << " angle " << k;
      }
    }
  }
}

TEST(RowKernels, RotateTurnsPairsHalfAHeadApartAndLeavesV) {
  constexpr int64_t kHeads = 3;
  constexpr int64_t kDim = 24;  // not a multiple of any vector width
  const auto table = MakeRotaryTable(2, 4, kDim, 2);
  std::vector<float> qkv(8 * 3 * kHeads * kDim);
  for (size_t i = 0; i < qkv.size(); ++i) qkv[i] = std::sin(static_cast<float>(i));
  const std::vector<float> before = qkv;
  RotateRows(qkv.data(), table.data(), 8, {kHeads, kDim});
  for (int64_t i = 0; i < static_cast<int64_t>(qkv.size()); ++i) {
    const int64_t row = i / (3 * kHeads * kDim);
    const int64_t in_head = i % kDim;
    const int64_t pair = in_head % (kDim / 2);
    const bool upper = in_head >= kDim / 2;
    const float cosine = table[row * kDim + pair];
    const float sine = table[row * kDim + kDim / 2 + pair];
    const float other =
        upper ? before[i - kDim / 2] : -before[i + (i + kDim / 2 < static_cast<int64_t>(qkv.size()) ? kDim / 2 : 0)];
    const bool is_v = i % (3 * kHeads * kDim) >= 2 * kHeads * kDim;
    ASSERT_NEAR(qkv[i], is_v ? before[i] : before[i] * cosine + other * sine, 1e-6) << i;
  }
}

TEST(RowKernels, Bf16IsFp32RoundedOnce) {
  std::vector<float> fp32(64 * 6);
  std::vector<Bf16> bf16(fp32.size());
  for (size_t i = 0; i < fp32.size(); ++i) {
    Store(std::cos(static_cast<float>(i)), bf16[i]);
    fp32[i] = ToFloat(bf16[i]);
  }
  const auto taps = MakePositionTaps(2, 2, 2, 2);
  std::vector<float> exact(4 * 64);
  std::vector<Bf16> rounded(4 * 64);
  InterpolateRows(fp32.data(), taps, 64, exact.data());
  InterpolateRows(bf16.data(), taps, 64, rounded.data());
  for (size_t i = 0; i < exact.size(); ++i) {
    Bf16 expected = 0;
    Store(exact[i], expected);
    ASSERT_EQ(rounded[i], expected) << i;
  }
}

TEST(Bf16, RoundsToNearestEvenAndKeepsNan) {
  const std::pair<float, Bf16> cases[] = {{1.0F, 0x3F80},   {1.00390625F, 0x3F80}, {1.01171875F, 0x3F82},
                                          {1.004F, 0x3F81}, {-2.0F, 0xC000},       {3.4e38F, 0x7F80}};
  for (const auto& [value, expected] : cases) {
    Bf16 bits = 0;
    Store(value, bits);
    EXPECT_EQ(bits, expected) << value;
  }
  Bf16 bits = 0;
  Store(std::nanf(""), bits);
  EXPECT_TRUE(std::isnan(ToFloat(bits)));
}

}  // namespace
}  // namespace vitower
