#include "server/worker.h"

#include <gtest/gtest.h>

#include "tests/support/puppet_encoder.h"

namespace vitower {
namespace {

class WarmUpTest : public testing::TestWithParam<int64_t> {};

TEST_P(WarmUpTest, FillsTheBudgetToTheLastToken) {
  const TowerConfig tower = PuppetInfo().tower;
  int64_t patches = 0;
  for (const Frames& frames : WarmUpFrames(tower, GetParam())) {
    EXPECT_EQ(frames.height, frames.grid.h * tower.patch_size);
    EXPECT_EQ(frames.width, frames.grid.w * tower.patch_size);
    EXPECT_EQ(static_cast<int64_t>(frames.rgb.size()), frames.height * frames.width * 3);
    EXPECT_EQ(frames.grid.h % tower.spatial_merge_size + frames.grid.w % tower.spatial_merge_size, 0);
    patches += frames.grid.patches();
  }
  EXPECT_EQ(patches, GetParam() / tower.merge_unit() * tower.merge_unit());
}
INSTANTIATE_TEST_SUITE_P(Budgets, WarmUpTest, testing::Values(4, 7, 100, 256, 1000, 1024, 8192));

}  // namespace
}  // namespace vitower
