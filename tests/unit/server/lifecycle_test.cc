#include "server/lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/support/fake_clock.h"
#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

using std::chrono_literals::operator""s;
using testing::HasSubstr;

class LifecycleTest : public testing::Test {
 protected:
  FakeClock clock_;
  Metrics metrics_;
  Lifecycle lifecycle_{metrics_, clock_};
};

TEST_F(LifecycleTest, OnlyMovesForward) {
  EXPECT_TRUE(lifecycle_.Advance(State::kWarming));
  EXPECT_TRUE(lifecycle_.Advance(State::kDraining));
  EXPECT_FALSE(lifecycle_.Advance(State::kServing));
  EXPECT_FALSE(lifecycle_.Advance(State::kDraining));
  EXPECT_EQ(lifecycle_.state(), State::kDraining);
}

TEST_F(LifecycleTest, TheMetricShowsOneState) {
  lifecycle_.Advance(State::kWarming);
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_state{state=\"warming\"} 1\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_state{state=\"starting\"} 0\n"));
}

TEST_F(LifecycleTest, StuckRefusesUntilADeviceIsBackButNotOnceItDrains) {
  lifecycle_.SetStuck(true);
  EXPECT_EQ(lifecycle_.state(), State::kStarting);
  lifecycle_.Advance(State::kServing);
  lifecycle_.SetStuck(true);
  EXPECT_EQ(lifecycle_.Enter(TestCall(1).call)->fault, Fault::kNoDevice);
  EXPECT_TRUE(lifecycle_.WaitUntilServing().ok());
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_state{state=\"stuck\"} 1\n"));
  lifecycle_.SetStuck(false);
  EXPECT_EQ(lifecycle_.state(), State::kServing);
  lifecycle_.Advance(State::kDraining);
  lifecycle_.SetStuck(true);
  EXPECT_EQ(lifecycle_.state(), State::kDraining);
}

TEST_F(LifecycleTest, AnAnnouncedDrainIsShownAndCallsStillEnterUntilItBegins) {
  lifecycle_.Advance(State::kServing);
  auto announced = std::async(std::launch::async, [&] { lifecycle_.AnnounceDrain(clock_.Now() + 5s); });
  clock_.AwaitWaiter();
  EXPECT_EQ(lifecycle_.state(), State::kDraining);
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_state{state=\"draining\"} 1\n"));
  TestCall test(1);
  EXPECT_FALSE(lifecycle_.Enter(test.call));
  clock_.Advance(5s);
  announced.get();
  EXPECT_TRUE(lifecycle_.Advance(State::kDraining));
  EXPECT_EQ(lifecycle_.Enter(test.call)->fault, Fault::kDraining);
}

TEST_F(LifecycleTest, ADrainBeforeItServesIsNotAnnounced) {
  lifecycle_.AnnounceDrain(clock_.Now() + 5s);
  EXPECT_EQ(lifecycle_.state(), State::kStarting);
}

TEST_F(LifecycleTest, IsAliveUntilItHasBeenStuckForTwoMinutes) {
  lifecycle_.Advance(State::kServing);
  lifecycle_.SetStuck(true);
  clock_.Advance(119s);
  lifecycle_.SetStuck(true);
  EXPECT_TRUE(lifecycle_.Alive());
  clock_.Advance(1s);
  EXPECT_FALSE(lifecycle_.Alive());
  lifecycle_.SetStuck(false);
  EXPECT_TRUE(lifecycle_.Alive());
}

TEST_F(LifecycleTest, LetsCallsInOnlyWhileServing) {
  TestCall test(1);
  EXPECT_EQ(lifecycle_.Enter(test.call)->fault, Fault::kNotReady);
  lifecycle_.Advance(State::kServing);
  EXPECT_FALSE(lifecycle_.Enter(test.call));
  lifecycle_.Advance(State::kDraining);
  EXPECT_EQ(lifecycle_.Enter(TestCall(1).call)->fault, Fault::kDraining);
  test.call->Abort(absl::OkStatus(), clock_.Now());
}

TEST_F(LifecycleTest, WaitsForTheCallsInside) {
  TestCall test(1);
  lifecycle_.Advance(State::kServing);
  ASSERT_FALSE(lifecycle_.Enter(test.call));
  lifecycle_.Advance(State::kDraining);
  auto left = std::async(std::launch::async, [&] { return lifecycle_.WaitForCalls(clock_.Now() + 30s); });
  clock_.AwaitWaiter();
  lifecycle_.Leave(*test.call);
  EXPECT_EQ(left.get(), 0U);
}

TEST_F(LifecycleTest, GivesUpAtTheDeadlineAndAbortsTheRest) {
  TestCall test(2);
  lifecycle_.Advance(State::kServing);
  ASSERT_FALSE(lifecycle_.Enter(test.call));
  auto left = std::async(std::launch::async, [&] { return lifecycle_.WaitForCalls(clock_.Now() + 30s); });
  clock_.AwaitWaiter();
  clock_.Advance(30s);
  EXPECT_EQ(left.get(), 1U);
  EXPECT_EQ(lifecycle_.AbortCalls(), 1U);
  EXPECT_EQ(lifecycle_.AbortCalls(), 0U);  // answered, though still inside
  EXPECT_EQ(test.completions, 1);
  EXPECT_EQ(test.code(1), 14U);
}

TEST_F(LifecycleTest, WaitUntilServingReturnsTheWarmUpsFailure) {
  auto waited = std::async(std::launch::async, [&] { return lifecycle_.WaitUntilServing(); });
  lifecycle_.FailWarmUp(absl::InternalError("no memory"));
  EXPECT_EQ(waited.get(), absl::InternalError("no memory"));
}

TEST_F(LifecycleTest, AFailedWarmUpIsStuckForGood) {
  lifecycle_.Advance(State::kWarming);
  lifecycle_.FailWarmUp(absl::UnavailableError("it hangs"));
  EXPECT_EQ(lifecycle_.state(), State::kStuck);
  EXPECT_EQ(lifecycle_.Enter(TestCall(1).call)->fault, Fault::kNoDevice);
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_state{state=\"stuck\"} 1\n"));
  lifecycle_.SetStuck(false);
  EXPECT_FALSE(lifecycle_.Advance(State::kServing));
  clock_.Advance(120s);
  EXPECT_FALSE(lifecycle_.Alive());
}

TEST_F(LifecycleTest, WaitUntilServingEndsWithADrain) {
  auto waited = std::async(std::launch::async, [&] { return lifecycle_.WaitUntilServing(); });
  lifecycle_.Advance(State::kDraining);
  EXPECT_EQ(waited.get().code(), absl::StatusCode::kUnavailable);
}

class TestStreamInside final : public Drainable {
 public:
  void OnDrain() override { ++drains; }
  int drains = 0;
};

TEST_F(LifecycleTest, ADrainTellsTheStreamsInsideOnceAndWaitsForThem) {
  const auto inside = std::make_shared<TestStreamInside>();
  const auto gone = std::make_shared<TestStreamInside>();
  EXPECT_EQ(lifecycle_.EnterStream(inside)->fault, Fault::kNotReady);
  lifecycle_.Advance(State::kServing);
  ASSERT_FALSE(lifecycle_.EnterStream(inside));
  ASSERT_FALSE(lifecycle_.EnterStream(gone));
  lifecycle_.LeaveStream(*gone);
  lifecycle_.Advance(State::kDraining);
  EXPECT_EQ(inside->drains, 1);
  EXPECT_EQ(gone->drains, 0);
  EXPECT_EQ(lifecycle_.EnterStream(gone)->fault, Fault::kDraining);
  auto left = std::async(std::launch::async, [&] { return lifecycle_.WaitForCalls(clock_.Now() + 30s); });
  clock_.AwaitWaiter();
  lifecycle_.LeaveStream(*inside);
  EXPECT_EQ(left.get(), 0U);
}

}  // namespace
}  // namespace vitower
