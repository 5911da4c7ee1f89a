#include "cli/send_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace vitower {
namespace {

using std::chrono::steady_clock;

TEST(SendQueue, HandsOutEachOnceInOrderAndThenNothing) {
  SendQueue queue(3, /*window=*/8);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(queue.Next(), i);
  for (int i = 0; i < 3; ++i) queue.Finished();
  EXPECT_EQ(queue.Next(), std::nullopt);
  EXPECT_EQ(SendQueue(0, 8).Next(), std::nullopt);
}

TEST(SendQueue, WhatWasRefusedComesAgainWhenItIsDueBeforeWhatWasNeverSent) {
  SendQueue queue(3, /*window=*/8);
  EXPECT_EQ(queue.Next(), 0U);
  EXPECT_EQ(queue.Next(), 1U);
  queue.Again(0, steady_clock::now() + std::chrono::hours(1));
  queue.Again(1, steady_clock::now());
  EXPECT_EQ(queue.Next(), 1U);
  EXPECT_EQ(queue.Next(), 2U);
}

TEST(SendQueue, NoMoreThanTheWindowAreBegunAndNotFinished) {
  SendQueue queue(3, /*window=*/1);
  std::atomic<bool> handed_out{false};
  EXPECT_EQ(queue.Next(), 0U);
  std::jthread sender([&] {
    EXPECT_EQ(queue.Next(), 0U);  // again, in place of 1
    handed_out = true;
  });
  EXPECT_FALSE(handed_out);
  queue.Again(0, steady_clock::now());
  sender.join();
  queue.Finished();
  EXPECT_EQ(queue.Next(), 1U);
}

TEST(SendQueue, StopWakesThoseWhoWait) {
  SendQueue queue(2, /*window=*/1);
  EXPECT_EQ(queue.Next(), 0U);
  std::jthread sender([&] { EXPECT_EQ(queue.Next(), std::nullopt); });
  queue.Stop();
}

TEST(SendQueue, ManySendersShareTheWork) {
  constexpr size_t kCount = 200;
  SendQueue queue(kCount, /*window=*/5);
  std::vector<std::atomic<int>> sent(kCount);
  std::vector<std::jthread> senders;
  for (int i = 0; i < 4; ++i) {
    senders.emplace_back([&] {
      while (const std::optional<size_t> index = queue.Next()) {
        const bool refused = sent[*index]++ == 0 && *index % 3 == 0;
        refused ? queue.Again(*index, steady_clock::now()) : queue.Finished();
      }
    });
  }
  senders.clear();
  for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(sent[i], i % 3 == 0 ? 2 : 1) << i;
}

}  // namespace
}  // namespace vitower
