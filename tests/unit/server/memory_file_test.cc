#include "server/memory_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <thread>

namespace vitower {
namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(MemoryFile, IsReplacedWholeAndWithAnotherTime) {
  const auto file = MemoryFile::Create("first");
  ASSERT_TRUE(file.ok()) << file.status();
  struct stat before {};
  struct stat after {};
  stat((*file)->path().c_str(), &before);
  EXPECT_EQ(Read((*file)->path()), "first");
  ASSERT_TRUE((*file)->Replace("the second").ok());
  stat((*file)->path().c_str(), &after);
  EXPECT_EQ(Read((*file)->path()), "the second");
  EXPECT_NE(before.st_mtime, after.st_mtime);
}

TEST(MemoryFile, AReaderNeverSeesHalfOfIt) {
  const std::string even(50'000, 'e');
  const std::string odd(90'000, 'o');
  const auto file = MemoryFile::Create(even);
  ASSERT_TRUE(file.ok()) << file.status();
  std::atomic<bool> stop{false};
  std::jthread reader([&] {
    while (!stop) {
      const std::string seen = Read((*file)->path());
      ASSERT_TRUE(seen == even || seen == odd) << seen.size();
    }
  });
  for (int i = 0; i < 200; ++i) ASSERT_TRUE((*file)->Replace(i % 2 == 0 ? odd : even).ok());
  stop = true;
}

}  // namespace
}  // namespace vitower
