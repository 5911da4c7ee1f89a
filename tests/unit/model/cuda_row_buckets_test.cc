#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/cuda/row_buckets.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;

TEST(RowBuckets, GrowByAQuarterAtMost) {
  const auto buckets = RowBuckets(kSmallestGraphRows, kLargestGraphRows);
  EXPECT_EQ(buckets.front(), kSmallestGraphRows);
  EXPECT_EQ(buckets.back(), kLargestGraphRows);
  for (size_t i = 1; i < buckets.size(); ++i) {
    EXPECT_GT(buckets[i], buckets[i - 1]);
    EXPECT_LE(buckets[i] * 4, buckets[i - 1] * 5) << buckets[i];
  }
}

TEST(RowBuckets, EveryRowCountFallsIntoTheSmallestBucketThatHoldsIt) {
  const auto buckets = RowBuckets(kSmallestGraphRows, kLargestGraphRows);
  size_t next = 0;
  for (int64_t rows = kSmallestGraphRows; rows <= kLargestGraphRows; ++rows) {
    if (rows > buckets[next]) ++next;
    ASSERT_EQ(RowBucket(rows), buckets[next]) << rows;
  }
}

TEST(RowBuckets, MergeIntoWholeTokens) {
  for (const int64_t rows : RowBuckets(kSmallestGraphRows, kLargestGraphRows)) EXPECT_EQ(rows % 4, 0) << rows;
}

TEST(GemmRows, AreBucketsWhereFewAndWholeTilesWhereMany) {
  EXPECT_EQ(GemmRows(1), 16);
  EXPECT_EQ(GemmRows(784), RowBucket(784));
  EXPECT_EQ(GemmRows(3136), 3200);  // 24.5 tiles of 128, where the bucket is 28
  EXPECT_EQ(GemmRows(12544), 12544);
}

TEST(GemmRows, AreAllListed) {
  EXPECT_THAT(AllGemmRows(96), ElementsAre(16, 32, 48, 64, 80, 96));
  const auto all = AllGemmRows(8192);
  for (int64_t rows = 1; rows <= 8192; ++rows) {
    ASSERT_TRUE(std::binary_search(all.begin(), all.end(), GemmRows(rows))) << rows;
  }
}

}  // namespace
}  // namespace vitower
