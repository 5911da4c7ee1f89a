#include "server/job_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <new>

#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

TEST(JobPool, RunsEverythingBeforeItEnds) {
  TestCall test(100);
  {
    JobPool pool("test", 3, [](std::unique_ptr<Job> job) { Fail(std::move(job), absl::OkStatus(), TimePoint()); });
    for (size_t i = 0; i < 100; ++i) pool.Post(MakeJob(test, i, 4));
  }
  EXPECT_EQ(test.completions, 1);
}

TEST(JobPool, AStepThatThrowsFailsItsOwnJobOnly) {
  TestCall test(3);
  {
    JobPool pool("test", 1, [](std::unique_ptr<Job> job) {
      if (job->patches() == 8) throw std::bad_alloc();
      Fail(std::move(job), absl::OkStatus(), TimePoint());
    });
    for (size_t i = 0; i < 3; ++i) pool.Post(MakeJob(test, i, i == 1 ? 8 : 4));
  }
  EXPECT_EQ(test.code(0), 0U);
  EXPECT_EQ(test.code(1), 13U);
  EXPECT_EQ(test.code(2), 0U);
}

bool IsLong(const Job& job) { return job.patches() == 8; }

TEST(JobPool, LongJobsLeaveOneOfTwoThreadsToTheOthers) {
  TestCall test(4);
  std::atomic<int> begun{0};
  std::promise<void> long_begun;
  std::promise<void> let_go;
  std::promise<void> short_done;
  const std::shared_future<void> go_on = let_go.get_future().share();
  const auto step = [&](std::unique_ptr<Job> job) {
    if (!IsLong(*job)) short_done.set_value();
    if (IsLong(*job) && ++begun == 1) long_begun.set_value();
    if (IsLong(*job)) go_on.wait();
    Fail(std::move(job), absl::OkStatus(), TimePoint());
  };
  {
    JobPool pool("test", 2, step, IsLong);
    for (size_t i = 0; i < 3; ++i) pool.Post(MakeJob(test, i, 8));
    long_begun.get_future().get();
    pool.Post(MakeJob(test, 3, 4));
    EXPECT_EQ(short_done.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
    let_go.set_value();
  }
  EXPECT_EQ(test.completions, 1);
}

}  // namespace
}  // namespace vitower
