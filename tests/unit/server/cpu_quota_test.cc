#include "server/cpu_quota.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <string>

#include "tests/support/temporary_folder.h"

namespace vitower {
namespace {

class CpuQuotaTest : public testing::Test {
 protected:
  void Write(const std::string& file, const std::string& text) { root_.Write(file, text + "\n"); }
  std::optional<int> Quota() const { return CpuQuota(root_.path().string()); }

  const TemporaryFolder root_;
};

TEST_F(CpuQuotaTest, IsRoundedUpToWholeCores) {
  Write("cpu.max", "150000 100000");
  EXPECT_EQ(Quota(), 2);
  Write("cpu.max", "50000 100000");
  EXPECT_EQ(Quota(), 1);
}

TEST_F(CpuQuotaTest, NoQuotaIsNone) {
  EXPECT_EQ(Quota(), std::nullopt);
  Write("cpu.max", "max 100000");
  EXPECT_EQ(Quota(), std::nullopt);
}

TEST_F(CpuQuotaTest, TheOlderKindOfGroupIsReadToo) {
  Write("cpu/cpu.cfs_quota_us", "400000");
  Write("cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(Quota(), 4);
  Write("cpu/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(Quota(), std::nullopt);
}

TEST(UsableCores, AreWhatTheAffinityMaskAllowsAtMost) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(UsableCores(), 1);
  EXPECT_LE(UsableCores(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(UsableCores(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

}  // namespace
}  // namespace vitower
