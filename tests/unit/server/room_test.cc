#include "server/room.h"

#include <gtest/gtest.h>

#include <deque>

namespace vitower {
namespace {

using std::chrono_literals::operator""ms;

constexpr int64_t kLimit = 1600;
constexpr int64_t kSmall = 16;

// Calls that stay for 100 ms each, and a clock.
class RoomTest : public testing::Test {
 protected:
  bool TryEnter(int64_t need) {
    if (!room_.Fits(need, now_)) {
      wait_ = room_.Refuse(need, now_);
      return false;
    }
    room_.Enter(need, now_);
    inside_.emplace_back(now_ + 100ms, need);
    return true;
  }
  void Step() {
    now_ += 1ms;
    for (; !inside_.empty() && inside_.front().first <= now_; inside_.pop_front()) {
      room_.Leave(inside_.front().second, now_);
    }
  }
  int FillWithSmall() {
    int entered = 0;
    while (TryEnter(kSmall)) ++entered;
    return entered;
  }

  int StepFull() {
    Step();
    return FillWithSmall();
  }

  Room room_{kLimit};
  TimePoint now_ = TimePoint() + std::chrono::hours(1);
  std::deque<std::pair<TimePoint, int64_t>> inside_;
  std::chrono::milliseconds wait_{0};
};

TEST_F(RoomTest, ALargeCallGetsInAlthoughSmallOnesKeepTheRoomFull) {
  for (const int64_t large : {int64_t{200}, int64_t{800}, kLimit}) {
    for (int i = 0; i < 3000; ++i) StepFull();
    const TimePoint asked_at = now_;
    for (TimePoint retry_at = now_;; StepFull()) {
      if (now_ < retry_at) continue;
      if (TryEnter(large)) break;
      ASSERT_LT(now_, asked_at + 1000ms) << large;
      retry_at = now_ + wait_;
    }
  }
}

TEST_F(RoomTest, SmallCallsGetInAlthoughLargeOnesKeepTheRoomFull) {
  ASSERT_TRUE(TryEnter(800));
  EXPECT_FALSE(TryEnter(800));
  now_ += 10 * 200ms;  // its claim is over
  EXPECT_EQ(FillWithSmall(), (kLimit - 800) / kSmall);
}

TEST_F(RoomTest, OnlyAnEmptyRoomIsGivenAwayWhole) {
  ASSERT_TRUE(TryEnter(kSmall));
  EXPECT_FALSE(TryEnter(kLimit - kSmall));
  for (int i = 0; i < 100; ++i) Step();
  EXPECT_TRUE(TryEnter(kLimit));
}

TEST_F(RoomTest, AClaimOfACallThatNeverComesBackCostsAtMostHalfOfTheTime) {
  int without = 0;
  for (int i = 0; i < 10'000; ++i) without += StepFull();
  int with = 0;
  for (int i = 0; i < 10'000; ++i) {
    if (!room_.Fits(kLimit, now_)) (void)room_.Refuse(kLimit, now_);
    with += StepFull();
  }
  EXPECT_GE(with, without / 2);
}

TEST_F(RoomTest, WhatNeedsNothingFitsAlways) {
  ASSERT_TRUE(TryEnter(kLimit));
  EXPECT_FALSE(TryEnter(kLimit));
  EXPECT_TRUE(TryEnter(0));
}

TEST_F(RoomTest, SmallerCallsAreLetInBesideAClaim) {
  ASSERT_TRUE(TryEnter(1000));
  EXPECT_FALSE(TryEnter(800));
  for (int i = 0; i < 100; ++i) Step();
  EXPECT_EQ(FillWithSmall(), (kLimit - 800 - kLimit / 8) / kSmall);
  EXPECT_FALSE(TryEnter(kSmall));
}

}  // namespace
}  // namespace vitower
