#include "model/grid_cache.h"

#include "gtest/gtest.h"

namespace vitower {
namespace {

class GridCacheTest : public ::testing::Test {
 protected:
  int Get(int64_t h, int64_t w, int64_t bytes) {
    return cache_.Get(h, w, bytes, [this](int64_t, int64_t) { return ++made_; });
  }

  GridCache<int> cache_{100};
  int made_ = 0;
};

TEST_F(GridCacheTest, KeepsByBothSides) {
  EXPECT_EQ(Get(2, 4, 10), 1);
  EXPECT_EQ(Get(4, 2, 10), 2);
  EXPECT_EQ(Get(2, 4, 10), 1);
  EXPECT_EQ(cache_.bytes(), 20);
}

TEST_F(GridCacheTest, DropsTheLeastRecentlyUsedPastItsBytes) {
  Get(1, 1, 50);
  Get(2, 2, 50);
  Get(1, 1, 50);
  Get(3, 3, 40);
  EXPECT_EQ(cache_.bytes(), 90);
  EXPECT_EQ(Get(1, 1, 50), 1);
  EXPECT_EQ(Get(2, 2, 50), 4);
}

TEST_F(GridCacheTest, DoesNotKeepWhatIsLargerThanAll) {
  Get(1, 1, 60);
  EXPECT_EQ(Get(9, 9, 101), 2);
  EXPECT_EQ(Get(9, 9, 101), 3);
  EXPECT_EQ(Get(1, 1, 60), 1);
}

}  // namespace
}  // namespace vitower
