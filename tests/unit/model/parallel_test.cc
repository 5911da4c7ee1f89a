#include "model/parallel.h"

#include <atomic>
#include <new>
#include <stdexcept>
#include <vector>

#include "gtest/gtest.h"
#include "model/guard.h"

namespace vitower {
namespace {

TEST(ParallelFor, CallsEachIndexOnce) {
  for (const int threads : {0, 1, 3, 8}) {
    std::vector<std::atomic<int>> calls(100);
    ParallelFor(threads, 100, [&](int64_t i) { ++calls[i]; });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST(ParallelFor, ExceptionOfTheBodyReachesTheCaller) {
  for (const int threads : {1, 4}) {
    std::atomic<int> calls{0};
    const auto body = [&](int64_t i) {
      ++calls;
      if (i >= 3) throw std::runtime_error("no weights");
    };
    EXPECT_THROW(ParallelFor(threads, 1'000'000, body), std::runtime_error);
    EXPECT_LT(calls, 1000) << "the others stop";
  }
}

TEST(Guarded, ExceptionsBecomeStatusesThatNameTheSubject) {
  const absl::Status memory = Guarded("folder", []() -> absl::Status { throw std::bad_alloc(); });
  EXPECT_EQ(memory.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(memory.message(), "folder: out of memory");
  const absl::Status other = Guarded("folder", []() -> absl::Status { throw std::runtime_error("broken"); });
  EXPECT_EQ(other.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(other.message(), "folder: broken");
  EXPECT_TRUE(Guarded("folder", [] { return absl::OkStatus(); }).ok());
}

}  // namespace
}  // namespace vitower
