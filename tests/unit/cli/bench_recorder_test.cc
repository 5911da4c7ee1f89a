#include "cli/bench_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitower {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Samples, PercentilesAreSamplesThemselves) {
  Samples samples;
  for (int i = 1000; i >= 1; --i) samples.Add(i);
  EXPECT_EQ(samples.Percentile(50), 500);
  EXPECT_EQ(samples.Percentile(99), 990);
  EXPECT_EQ(samples.Percentile(99.9), 999);
  EXPECT_EQ(samples.Percentile(100), 1000);
  EXPECT_EQ(samples.Max(), 1000);
  EXPECT_EQ(samples.Mean(), 500.5);
  samples.Add(0.5);  // after they were sorted
  EXPECT_EQ(samples.Percentile(0), 0.5);
}

TEST(Samples, FewSamplesHaveTheirLargestAsHighPercentile) {
  Samples samples;
  EXPECT_EQ(samples.Percentile(99), 0);
  samples.Add(3);
  EXPECT_EQ(samples.Percentile(1), 3);
  EXPECT_EQ(samples.Percentile(99.9), 3);
}

class BenchRecorderTest : public ::testing::Test {
 protected:
  const BenchRecorder::TimePoint start_{};
  // From 0 to 2 s of warm-up, measured until 12 s.
  BenchRecorder recorder_{2, start_, start_ + seconds(2), start_ + seconds(12)};

  BenchOutcome Outcome(milliseconds begun, milliseconds ended, absl::Status status = absl::OkStatus()) const {
    BenchOutcome outcome;
    outcome.begun = start_ + begun;
    outcome.ended = start_ + ended;
    outcome.status = std::move(status);
    outcome.patches = 10;
    outcome.stage_seconds = {{"decode", 0.25}};
    return outcome;
  }
};

TEST_F(BenchRecorderTest, ThroughputIsOfWhatEndsInTheWindowAndLatencyOfWhatBeginsInIt) {
  recorder_.Add(Outcome(seconds(1), milliseconds(1500)));  // warm-up
  recorder_.Add(Outcome(seconds(1), seconds(3)));          // ends in the window
  recorder_.Add(Outcome(seconds(4), seconds(5)));          // all of it
  recorder_.Add(Outcome(seconds(11), seconds(14)));        // begins in it
  BenchTotals totals = recorder_.Take(start_ + seconds(20));
  EXPECT_EQ(totals.window_seconds, 10);
  EXPECT_EQ(totals.items, 2);
  EXPECT_EQ(totals.patches, 20);
  EXPECT_EQ(totals.timeline[14].ok_patches, 10);
  EXPECT_EQ(totals.latency.count(), 2);
  EXPECT_EQ(totals.latency.Max(), 3);
  EXPECT_THAT(totals.stage_seconds, ElementsAre(Pair("decode", 0.5)));
}

TEST_F(BenchRecorderTest, RefusalsAndFailuresAreCountedApart) {
  recorder_.Add(Outcome(seconds(3), milliseconds(3004), absl::ResourceExhaustedError("full")));
  recorder_.Add(Outcome(seconds(3), seconds(5), absl::UnavailableError("gone")));
  recorder_.Add(Outcome(seconds(3), seconds(5), absl::UnavailableError("gone for good")));
  BenchTotals totals = recorder_.Take(start_ + seconds(7));
  EXPECT_EQ(totals.window_seconds, 5);  // stopped before the end of the window
  EXPECT_EQ(totals.items, 0);
  EXPECT_EQ(totals.latency.count(), 0);
  EXPECT_NEAR(totals.refusal_latency.Max(), 0.004, 1e-9);
  EXPECT_THAT(totals.errors, ElementsAre(Pair("RESOURCE_EXHAUSTED", 1), Pair("UNAVAILABLE", 2)));
  EXPECT_EQ(totals.error_texts["UNAVAILABLE"], "gone");
  ASSERT_EQ(totals.timeline.size(), 6U);
  EXPECT_EQ(totals.timeline[3].refused, 1);
  EXPECT_EQ(totals.timeline[5].failed, 2);
}

}  // namespace
}  // namespace vitower
