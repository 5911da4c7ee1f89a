#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "model/cuda/lending.h"
#include "model/cuda/patience.h"

namespace vitower {
namespace {

TEST(Lending, WhatIsLentIsNobodyElsesUntilItComesBack) {
  struct Slot {
    std::atomic<int> users{0};
  };
  Lending<Slot> slots(2);
  std::atomic<int> shared{0};
  {
    std::vector<std::jthread> borrowers;
    for (int i = 0; i < 6; ++i) {
      borrowers.emplace_back([&] {
        for (int j = 0; j < 500; ++j) {
          const auto slot = slots.Take();
          shared += slot->users++;
          std::this_thread::yield();
          --slot->users;
        }
      });
    }
  }
  EXPECT_EQ(shared, 0);
}

TEST(Lending, AsManyAsThereAreAreLentAtOnce) {
  Lending<int> numbers(2);
  auto first = numbers.Take();
  auto second = numbers.Take();
  EXPECT_NE(first.get(), second.get());
  int* const one = first.get();
  first.reset();
  EXPECT_EQ(numbers.Take().get(), one);
}

TEST(Patience, EndsWhenItIsReachedAndGivesUpAtTheLimit) {
  int asked = 0;
  EXPECT_TRUE(WaitPatiently([&] { return ++asked == 1000; }, std::chrono::hours(1)));
  EXPECT_EQ(asked, 1000);
  EXPECT_FALSE(WaitPatiently([] { return false; }, std::chrono::milliseconds(5)));
}

}  // namespace
}  // namespace vitower
