#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "preprocess/video.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int64_t> Sample(int64_t total, std::optional<double> fps, const SamplingOptions& options = {}) {
  const absl::StatusOr<std::vector<int64_t>> indices = SampleFrames(total, fps, options);
  EXPECT_TRUE(indices.ok()) << indices.status();
  return indices.ok() ? *indices : std::vector<int64_t>();
}

std::string Refusal(int64_t total, std::optional<double> fps, const SamplingOptions& options = {}) {
  const absl::Status status = SampleFrames(total, fps, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

// The vectors were taken from the reference's own rule.
TEST(SampleFrames, GivesTheReferencesIndices) {
  const std::vector<int64_t> ten_seconds = Sample(300, 30);
  EXPECT_EQ(ten_seconds.size(), 20U);
  EXPECT_THAT(std::vector(ten_seconds.begin(), ten_seconds.begin() + 4), ElementsAre(0, 16, 31, 47));
  EXPECT_EQ(ten_seconds.back(), 299);
  EXPECT_THAT(Sample(31, 30), ElementsAre(0, 10, 20, 30));
  EXPECT_EQ(Sample(90, 24).size(), 7U);
  EXPECT_EQ(Sample(75, 29.97).size(), 5U);
  EXPECT_THAT(Sample(3, 30), ElementsAre(0, 1, 2));
  EXPECT_THAT(Sample(32, std::nullopt), ElementsAre(0, 10, 21, 31));  // 24 frames a second
}

TEST(SampleFrames, RoundsHalfToEven) {
  EXPECT_THAT(Sample(6, 30, {.num_frames = 3}), ElementsAre(0, 2, 5));  // 2.5 -> 2
  EXPECT_THAT(Sample(8, 30, {.num_frames = 3}), ElementsAre(0, 4, 7));  // 3.5 -> 4
}

TEST(SampleFrames, KeepsTheNumberWithinItsBounds) {
  EXPECT_EQ(Sample(100'000, 30).size(), 768U);
  EXPECT_EQ(Sample(100'000, 30, {.max_frames = 9}).size(), 9U);
  EXPECT_EQ(Sample(60, 30, {.min_frames = 11}).size(), 11U);
  EXPECT_EQ(Sample(10, 1, {.fps = 50}).size(), 10U);
}

TEST(SampleFrames, RepeatsFramesOnlyWhereMoreAreAskedForThanThereAre) {
  EXPECT_THAT(Sample(2, 30, {.num_frames = 4}), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(Sample(5, 30, {.num_frames = 1}), ElementsAre(0));
  EXPECT_THAT(Sample(1, 30), ElementsAre(0));
}

TEST(SampleFrames, TakesOnlyWhatIsShownBetweenStartAndEnd) {
  EXPECT_THAT(Sample(100, 10, {.num_frames = 3, .start_seconds = 2.0, .end_seconds = 3.0}), ElementsAre(20, 24, 29));
  EXPECT_THAT(Sample(100, 10, {.num_frames = 2, .start_seconds = 2.05}), ElementsAre(21, 99));
  EXPECT_THAT(Sample(100, 10, {.num_frames = 2, .end_seconds = 1e300}), ElementsAre(0, 99));
  EXPECT_EQ(Sample(100, 10, {.start_seconds = 5.0, .end_seconds = 9.0}).size(), 8U);
}

TEST(SampleFrames, ATimeFromAReplyNamesThatVeryFrame) {
  constexpr double kFps = 30'000.0 / 1001;
  for (int64_t frame = 0; frame < 2'000; ++frame) {
    const SamplingOptions options = {.num_frames = 1, .start_seconds = static_cast<double>(frame) / kFps};
    EXPECT_EQ(Sample(2'000, kFps, options).front(), frame);
  }
}

TEST(SampleFrames, RefusesWhatMakesNoSenseByName) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(Refusal(0, 30), "the clip has no frames");
  EXPECT_THAT(Refusal(9, 0.0), HasSubstr("frames per second must be positive, got 0"));
  EXPECT_THAT(Refusal(9, 30, {.fps = -1}), HasSubstr("sampling fps must be positive, got -1"));
  EXPECT_THAT(Refusal(9, 30, {.fps = kNan}), HasSubstr("got nan"));
  EXPECT_THAT(Refusal(9, 30, {.num_frames = 0}), HasSubstr("num_frames must be in [1, 1048576], got 0"));
  EXPECT_THAT(Refusal(9, 30, {.num_frames = int64_t{1} << 60}), HasSubstr("num_frames must be in"));
  EXPECT_THAT(Refusal(9, 30, {.min_frames = 0}), HasSubstr("must be positive, got 0 and 768"));
  EXPECT_THAT(Refusal(9, 30, {.start_seconds = 3.0, .end_seconds = 2.0}), HasSubstr("no frame is shown"));
  EXPECT_THAT(Refusal(90, 30, {.start_seconds = 3.0}), HasSubstr("the clip has 90 frames in 3 s"));
  EXPECT_THAT(Refusal(9, 30, {.start_seconds = kNan}), HasSubstr("start_seconds nan"));
  EXPECT_THAT(Refusal(9, std::nullopt, {.end_seconds = 2.0}), HasSubstr("frames per second are known"));
}

TEST(SliceTimestamps, AreTheMeanOfFirstAndLast) {
  const std::vector<int64_t> indices = {0, 10, 21, 31};
  EXPECT_THAT(SliceTimestamps(indices, 10, 2), ElementsAre(0.5, 2.6));
  EXPECT_THAT(SliceTimestamps(indices, 10, 4), ElementsAre(1.55));
  EXPECT_THAT(SliceTimestamps(indices, 10, 1), ElementsAre(0, 1, 2.1, 3.1));
}

TEST(SliceTimestamps, RepeatTheLastFrameOfAnOddClip) {
  EXPECT_THAT(SliceTimestamps(std::vector<int64_t>{0, 4, 8}, 2, 2), ElementsAre(1, 4));
  EXPECT_THAT(SliceTimestamps(std::vector<int64_t>{6}, 2, 2), ElementsAre(3));
  EXPECT_THAT(SliceTimestamps({}, 2, 2), IsEmpty());
}

}  // namespace
}  // namespace vitower
