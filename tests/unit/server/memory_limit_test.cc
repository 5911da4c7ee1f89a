#include "server/memory_limit.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/temporary_folder.h"

namespace vitower {
namespace {

class MemoryLimitTest : public testing::Test {
 protected:
  void Write(const std::string& file, const std::string& text) { root_.Write(file, text + "\n"); }
  std::optional<int64_t> Limit() const { return MemoryLimit(root_.path().string()); }

  const TemporaryFolder root_;
};

TEST_F(MemoryLimitTest, IsWhatTheGroupSays) {
  EXPECT_EQ(Limit(), std::nullopt);
  Write("memory.max", "2147483648");
  EXPECT_EQ(Limit(), int64_t{2} << 30);
  Write("memory.max", "max");
  EXPECT_EQ(Limit(), std::nullopt);
}

TEST_F(MemoryLimitTest, TheOlderKindOfGroupSaysNoneWithALargeNumber) {
  Write("memory/memory.limit_in_bytes", "536870912");
  EXPECT_EQ(Limit(), int64_t{512} << 20);
  Write("memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(Limit(), std::nullopt);
}

TEST(UsableMemory, IsSomeAndNoMoreThanTheGroupAllows) {
  EXPECT_GT(UsableMemoryBytes(), int64_t{64} << 20);
  EXPECT_LE(UsableMemoryBytes(), MemoryLimit("/sys/fs/cgroup").value_or(UsableMemoryBytes()));
}

}  // namespace
}  // namespace vitower
