#include "cli/read_ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>

namespace vitower {
namespace {

TEST(ReadAhead, HandsOutInOrderWhateverFinishesFirst) {
  std::latch second_is_made(1);
  ReadAhead<std::unique_ptr<size_t>> made(2, /*threads=*/2, /*window=*/2, [&](size_t i) {
    if (i == 0) second_is_made.wait();
    if (i == 1) second_is_made.count_down();
    return std::make_unique<size_t>(i);
  });
  EXPECT_EQ(*made.Next(), 0U);
  EXPECT_EQ(*made.Next(), 1U);
}

TEST(ReadAhead, MakesEveryResultOnce) {
  std::atomic<size_t> calls{0};
  ReadAhead<size_t> made(1000, /*threads=*/4, /*window=*/16, [&](size_t i) {
    ++calls;
    return i * i;
  });
  for (size_t i = 0; i < 1000; ++i) ASSERT_EQ(made.Next(), i * i);
  EXPECT_EQ(calls, 1000U);
}

TEST(ReadAhead, StaysWithinItsWindow) {
  std::atomic<size_t> started{0};
  std::atomic<size_t> taken{0};
  std::atomic<bool> within{true};
  ReadAhead<size_t> made(200, /*threads=*/4, /*window=*/3, [&](size_t i) {
    if (i >= taken + 1 + 3) within = false;  // taken is counted just after Next returned
    ++started;
    return i;
  });
  for (size_t i = 0; i < 200; ++i, ++taken) made.Next();
  EXPECT_TRUE(within);
  EXPECT_EQ(started, 200U);
}

TEST(ReadAhead, CanBeLeftHalfway) {
  std::atomic<size_t> calls{0};
  {
    ReadAhead<size_t> made(1'000'000, /*threads=*/2, /*window=*/4, [&](size_t i) {
      ++calls;
      return i;
    });
    EXPECT_EQ(made.Next(), 0U);
  }
  EXPECT_LE(calls, 5U);
}

TEST(ReadAhead, NothingToMakeIsNothing) {
  ReadAhead<size_t> made(0, /*threads=*/2, /*window=*/4, [](size_t i) { return i; });
}

}  // namespace
}  // namespace vitower
