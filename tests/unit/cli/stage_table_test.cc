#include "cli/stage_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitower {
namespace {

TEST(StageTable, ShowsMeansAndShares) {
  StageTable table;
  table.Add({{"decode", 0.002}, {"blocks", 0.006}});
  table.Add({{"decode", 0.004}, {"blocks", 0.008}});
  const std::string text = table.Text();
  EXPECT_THAT(text, ::testing::ContainsRegex("decode +3.000 +30.0%"));
  EXPECT_THAT(text, ::testing::ContainsRegex("blocks +7.000 +70.0%"));
  EXPECT_THAT(text, ::testing::ContainsRegex("total +10.000 +100.0%"));
}

TEST(StageTable, IsEmptyWithoutImages) { EXPECT_EQ(StageTable().Text(), ""); }

}  // namespace
}  // namespace vitower
