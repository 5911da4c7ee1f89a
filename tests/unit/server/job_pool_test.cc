#include "server/job_pool.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace vitower
