#include "server/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <random>
#include <utility>
#include <vector>

#include "tests/support/fake_clock.h"
#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using testing::ElementsAre;
using testing::IsEmpty;

class BatcherTest : public testing::Test {
 protected:
  explicit BatcherTest(std::chrono::nanoseconds max_delay = 0ms)
      : batcher_({/*budget_patches=*/100, max_delay,
                  [this](std::unique_ptr<Job> job, Fault why) {
                    dropped_.emplace_back(job->patches(), why);
                    Fail(std::move(job), MakeStatus(why, "dropped"), clock_.Now());
                  }},
                 clock_) {}

  // Sizes tell the jobs of a test apart.
  void Submit(int64_t patches, Priority priority = Priority::kNormal) {
    std::unique_ptr<Job> job = MakeJob(call_, next_++, patches, priority);
    ASSERT_EQ(batcher_.Submit(job), std::nullopt);
  }
  void SubmitOf(const TestCall& call, int64_t patches) {
    std::unique_ptr<Job> job = MakeJob(call, 0, patches);
    ASSERT_EQ(batcher_.Submit(job), std::nullopt);
  }
  std::vector<int64_t> PullSizes(int64_t budget = 100) {
    std::vector<int64_t> sizes;
    for (std::unique_ptr<Job>& job : batcher_.Pull(budget)) {
      sizes.push_back(job->patches());
      Fail(std::move(job), absl::OkStatus(), clock_.Now());
    }
    return sizes;
  }

  FakeClock clock_;
  TestCall call_{1000};
  size_t next_ = 0;
  std::vector<std::pair<int64_t, Fault>> dropped_;
  Batcher batcher_;
};

TEST_F(BatcherTest, FillsUpToTheBudgetInOrder) {
  for (const int64_t size : {40, 50, 10, 20}) Submit(size);
  EXPECT_THAT(PullSizes(), ElementsAre(40, 50, 10));
  EXPECT_THAT(PullSizes(), ElementsAre(20));
}

TEST_F(BatcherTest, LooksPastWhatDoesNotFit) {
  for (const int64_t size : {60, 80, 30, 12, 10}) Submit(size);
  EXPECT_THAT(PullSizes(), ElementsAre(60, 30, 10));
  EXPECT_THAT(PullSizes(), ElementsAre(80, 12));
}

TEST_F(BatcherTest, AJobAboveTheBudgetRunsAlone) {
  for (const int64_t size : {400, 10}) Submit(size);
  EXPECT_THAT(PullSizes(), ElementsAre(400));
  EXPECT_THAT(PullSizes(), ElementsAre(10));
}

TEST_F(BatcherTest, AJobAboveTheBudgetIsNotStarvedBySmallOnes) {
  Submit(10);
  Submit(400);
  Submit(20);
  EXPECT_THAT(PullSizes(), ElementsAre(10, 20));
  Submit(30);
  EXPECT_THAT(PullSizes(), ElementsAre(400));
}

TEST_F(BatcherTest, HigherPrioritiesComeFirst) {
  Submit(30, Priority::kLow);
  Submit(40, Priority::kNormal);
  Submit(60, Priority::kHigh);
  EXPECT_THAT(PullSizes(), ElementsAre(60, 40));
  EXPECT_THAT(PullSizes(), ElementsAre(30));
}

TEST_F(BatcherTest, ALowJobThatHasWaitedItsPenaltyIsNotOvertaken) {
  Submit(70, Priority::kLow);
  clock_.Advance(9s);
  Submit(80, Priority::kHigh);
  clock_.Advance(2s);
  Submit(90, Priority::kHigh);
  EXPECT_THAT(PullSizes(), ElementsAre(80));
  EXPECT_THAT(PullSizes(), ElementsAre(70));
  EXPECT_THAT(PullSizes(), ElementsAre(90));
}

TEST_F(BatcherTest, DropsTheExpiredAndTheCancelledAndNamesThem) {
  TestCall expired(1, clock_.Now() + 5s);
  TestCall cancelled(1);
  SubmitOf(expired, 10);
  SubmitOf(cancelled, 20);
  Submit(30);
  cancelled.call->Cancel();
  clock_.Advance(5s);
  EXPECT_THAT(PullSizes(), ElementsAre(30));
  EXPECT_THAT(dropped_, ElementsAre(std::pair(10, Fault::kExpired), std::pair(20, Fault::kCancelled)));
  EXPECT_EQ(expired.code(0), 4U);
  EXPECT_EQ(cancelled.code(0), 1U);
}

TEST_F(BatcherTest, AnAbortedCallsJobsAreDropped) {
  TestCall aborted(1);
  SubmitOf(aborted, 10);
  aborted.call->Abort(absl::UnavailableError("stop"), clock_.Now());
  Submit(30);
  EXPECT_THAT(PullSizes(), ElementsAre(30));
  EXPECT_THAT(dropped_, ElementsAre(std::pair(10, Fault::kAbandoned)));
  EXPECT_EQ(aborted.completions, 1);
}

TEST_F(BatcherTest, PullWaitsForWork) {
  auto pulled = std::async(std::launch::async, [&] { return PullSizes(); });
  Submit(40);
  EXPECT_THAT(pulled.get(), ElementsAre(40));
}

TEST_F(BatcherTest, PullEndsWhenStopped) {
  auto pulled = std::async(std::launch::async, [&] { return PullSizes(); });
  batcher_.Stop();
  EXPECT_THAT(pulled.get(), IsEmpty());
}

TEST_F(BatcherTest, StopHandsOutWhatIsLeftFirst) {
  Submit(40);
  batcher_.Stop();
  EXPECT_THAT(PullSizes(), ElementsAre(40));
  EXPECT_THAT(PullSizes(), IsEmpty());
}

TEST_F(BatcherTest, ARefusedSubmitLeavesTheJobWithItsOwner) {
  batcher_.Stop();
  std::unique_ptr<Job> job = MakeJob(call_, 0, 10);
  EXPECT_EQ(batcher_.Submit(job), Fault::kAbandoned);
  EXPECT_NE(job, nullptr);
}

class DelayedBatcherTest : public BatcherTest {
 protected:
  DelayedBatcherTest() : BatcherTest(50ms) {}
};

TEST_F(DelayedBatcherTest, AnIdleDeviceWaitsForCompanyUpToTheDelay) {
  Submit(40);
  auto pulled = std::async(std::launch::async, [&] { return PullSizes(); });
  clock_.AwaitWaiter();
  Submit(30);
  clock_.Advance(50ms);
  EXPECT_THAT(pulled.get(), ElementsAre(40, 30));
}

TEST_F(DelayedBatcherTest, AFullBudgetEndsTheWait) {
  Submit(40);
  auto pulled = std::async(std::launch::async, [&] { return PullSizes(); });
  clock_.AwaitWaiter();
  Submit(60);
  EXPECT_THAT(pulled.get(), ElementsAre(40, 60));
}

TEST_F(DelayedBatcherTest, WhatHasWaitedBehindABusyDeviceDoesNotWaitAgain) {
  Submit(40);
  clock_.Advance(50ms);
  EXPECT_THAT(PullSizes(), ElementsAre(40));
}

TEST_F(DelayedBatcherTest, ANewcomerOfHigherPriorityDoesNotProlongTheWait) {
  Submit(40);
  clock_.Advance(49ms);
  Submit(10, Priority::kHigh);
  clock_.Advance(1ms);
  EXPECT_THAT(PullSizes(), ElementsAre(10, 40));
}

TEST_F(DelayedBatcherTest, StopEndsTheWait) {
  Submit(40);
  auto pulled = std::async(std::launch::async, [&] { return PullSizes(); });
  clock_.AwaitWaiter();
  batcher_.Stop();
  EXPECT_THAT(pulled.get(), ElementsAre(40));
}

// The bound of the class comment for one worker and equal priorities, without new work: 2 Q / B + 1 pulls.
TEST_F(BatcherTest, NoQueueNeedsMorePullsThanTheBound) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    TestCall call(1000);
    int64_t queued = 0;
    for (size_t i = 0; queued < 1000; ++i) {
      std::unique_ptr<Job> job = MakeJob(call, i, 4 + 2 * static_cast<int64_t>(random() % 60));
      queued += job->patches();
      ASSERT_EQ(batcher_.Submit(job), std::nullopt);
    }
    const int64_t bound = 2 * queued / 100 + 1;
    for (int64_t pulls = 1; queued > 0; ++pulls) {
      ASSERT_LE(pulls, bound);
      for (const int64_t size : PullSizes()) queued -= size;
    }
  }
}

// A queue of all priorities and sizes that never ends, and who pulls from it.
struct Load {
  int64_t workers;
  bool in_step;  // all workers begin their passes together, else one after the other
  std::chrono::nanoseconds max_delay;
  int64_t queue_patches;
};
class FormulaTest : public BatcherTest, public testing::WithParamInterface<Load> {
 protected:
  FormulaTest() : BatcherTest(GetParam().max_delay) {}

  void Fill(const TestCall& call) {
    const int64_t queue = GetParam().queue_patches;
    while (true) {
      const int64_t size = std::min<int64_t>(4 + 2 * static_cast<int64_t>(random_() % 60), queue / 4 * 2);
      if (queued_ + size > queue) return;
      std::unique_ptr<Job> job = MakeJob(call, next_++, size, static_cast<Priority>(random_() % 3));
      ASSERT_EQ(batcher_.Submit(job), std::nullopt);
      queued_ += size;
    }
  }
  void PullOnce() {
    for (std::unique_ptr<Job>& job : batcher_.Pull(100)) {
      const std::chrono::nanoseconds penalty = job->plan.priority == Priority::kHigh     ? 0s
                                               : job->plan.priority == Priority::kNormal ? 1s
                                                                                         : 10s;
      longest_ = std::max(longest_, clock_.Now() - job->ready_at - penalty);
      queued_ -= job->patches();
      Fail(std::move(job), absl::OkStatus(), clock_.Now());
    }
  }

  std::mt19937 random_{11};
  int64_t queued_ = 0;
  std::chrono::nanoseconds longest_{0};
};

// The bound of the class comment.
TEST_P(FormulaTest, NoJobWaitsLongerThanItSays) {
  constexpr std::chrono::nanoseconds kPass = 1s;
  const auto& [workers, in_step, max_delay, queue] = GetParam();
  TestCall call(20'000);
  for (int64_t pulls = 1; pulls <= 1000; ++pulls) {
    Fill(call);
    if (queued_ < 100) clock_.Advance(max_delay);  // a pull would wait
    PullOnce();
    if (!in_step) clock_.Advance(kPass / workers);
    if (in_step && pulls % workers == 0) clock_.Advance(kPass);
  }
  const std::chrono::nanoseconds bound = max_delay + kPass * 2 * queue / (100 * workers) + 2 * kPass;
  EXPECT_LE(longest_, bound);
  EXPECT_GT(longest_, bound / 8);
}
INSTANTIATE_TEST_SUITE_P(Loads, FormulaTest,
                         testing::Values(Load{1, true, 0s, 1000}, Load{3, true, 0s, 1000}, Load{3, false, 0s, 1000},
                                         Load{2, false, 5s, 1000}, Load{1, true, 5s, 80}, Load{2, false, 5s, 80}));

TEST_F(BatcherTest, CallsAreSplitOverBatchesAndBatchesMadeOfPartsOfManyCalls) {
  std::vector<std::unique_ptr<TestCall>> calls;
  for (int i = 0; i < 3; ++i) calls.push_back(std::make_unique<TestCall>(2));
  for (const auto& call : calls) {
    for (size_t item = 0; item < 2; ++item) {
      std::unique_ptr<Job> job = MakeJob(*call, item, 40);
      ASSERT_EQ(batcher_.Submit(job), std::nullopt);
    }
  }
  EXPECT_THAT(PullSizes(120), ElementsAre(40, 40, 40));
  EXPECT_EQ(calls[0]->completions, 1);
  EXPECT_EQ(calls[1]->completions, 0);
  EXPECT_THAT(PullSizes(120), ElementsAre(40, 40, 40));
  EXPECT_EQ(calls[1]->completions, 1);
  EXPECT_EQ(calls[2]->completions, 1);
}

}  // namespace
}  // namespace vitower
