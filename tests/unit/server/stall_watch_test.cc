#include "server/stall_watch.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/fake_clock.h"

namespace vitower {
namespace {

using std::chrono_literals::operator""s;

class StallWatchTest : public testing::Test {
 protected:
  std::function<void()> Tell(char name) {
    return [this, name] {
      MutexLock lock(mu_);
      told_ += name;
      changed_.NotifyAll();
    };
  }
  void AwaitTold(const std::string& told) {
    MutexLock lock(mu_);
    while (told_ != told) changed_.Wait(mu_);
  }
  void Pass(std::chrono::seconds time) {
    clock_.AwaitWaiter();
    clock_.Advance(time);
  }

  FakeClock clock_;
  Mutex mu_;
  CondVar changed_;
  std::string told_ ABSL_GUARDED_BY(mu_);
  StallWatch watch_{clock_, 10s};
};

TEST_F(StallWatchTest, AWaitThatIsNotOverInTimeIsToldOfOnce) {
  StallWatch::Wait wait;
  wait.Begin(watch_, Tell('a'));
  Pass(9s);
  Pass(1s);
  AwaitTold("a");
  Pass(100s);
  EXPECT_TRUE(wait.End());
  EXPECT_FALSE(wait.End());
  AwaitTold("a");
}

TEST_F(StallWatchTest, AWaitThatEndsInTimeIsNot) {
  StallWatch::Wait first;
  StallWatch::Wait second;
  first.Begin(watch_, Tell('a'));
  Pass(5s);
  second.Begin(watch_, Tell('b'));
  EXPECT_FALSE(first.End());
  first.Begin(watch_, Tell('c'));
  Pass(10s);
  AwaitTold("bc");
}

TEST_F(StallWatchTest, WhatIsToldMayEndTheWaitItself) {
  StallWatch::Wait wait;
  wait.Begin(watch_, [&wait, this, first = Tell('a'), second = Tell('b')] {
    EXPECT_TRUE(wait.End());
    wait.Begin(watch_, second);
    first();
  });
  Pass(10s);
  AwaitTold("a");  // the watch has left its sleep, so that the next waiter is a new one
  Pass(10s);
  AwaitTold("ab");
  wait.End();
}

TEST_F(StallWatchTest, AWaitThatGoesAwayIsForgotten) {
  { StallWatch::Wait().Begin(watch_, Tell('a')); }
  StallWatch::Wait wait;
  wait.Begin(watch_, Tell('b'));
  Pass(10s);
  AwaitTold("b");
  wait.End();
}

}  // namespace
}  // namespace vitower
