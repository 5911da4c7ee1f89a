#include "server/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>

#include "server/item_check.h"
#include "tests/support/fake_clock.h"
#include "tests/support/puppet_encoder.h"
#include "tests/support/test_items.h"
#include "tests/unit/server/source_limits.h"
#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The job of one item, prepared.
class PrepareTest : public testing::Test {
 protected:
  ~PrepareTest() override {
    if (job_) Fail(std::move(job_), absl::OkStatus(), clock_.Now());
  }

  absl::Status Run(v1::Item item, bool cancelled = false) {
    absl::StatusOr<ItemPlan> plan = CheckItem(item, PuppetInfo(), kSourceLimits);
    if (!plan.ok()) return plan.status();
    v1::EmbedRequest request;
    *request.add_items() = std::move(item);
    call_ = std::make_unique<TestCall>(std::move(request));
    job_ = std::make_unique<Job>(call_->call, 0, *std::move(plan));
    if (cancelled) call_->call->Cancel();
    return Prepare(*job_, clock_, clock_.Now());
  }

  const Frames& frames() const { return std::get<Frames>(*job_->input); }
  Colour Pixel(int64_t frame) const {
    const uint8_t* at = frames().rgb.data() + frame * frames().height * frames().width * 3;
    return {at[0], at[1], at[2]};
  }
  bool Reached(Stage stage) const { return job_->times.reached(stage); }

  FakeClock clock_;
  std::unique_ptr<TestCall> call_;
  std::unique_ptr<Job> job_;
};

TEST_F(PrepareTest, RgbOfTheRightSizeIsNotCopied) {
  for (const uint32_t count : {0U, 3U}) {
    v1::Item item = RgbItem(64, 96, Colours(count == 0 ? 1 : 3), count);
    const void* sent = item.rgb().data().data();
    ASSERT_TRUE(Run(std::move(item)).ok());
    EXPECT_EQ(frames().rgb.data(), sent);
    EXPECT_EQ(frames().frame_count, std::max<int64_t>(count, 1));
    EXPECT_EQ(frames().height, 96);
    EXPECT_EQ(frames().width, 64);
    EXPECT_EQ(frames().grid, job_->plan.grid);
    EXPECT_EQ(job_->clip.has_value(), count == 3);
    Fail(std::move(job_), absl::OkStatus(), clock_.Now());
  }
}

TEST_F(PrepareTest, PatchesAreNotCopied) {
  v1::Item item = PatchesItem({2, 2, 4}, DType::kFp16);
  const void* sent = item.patches().data().data();
  ASSERT_TRUE(Run(std::move(item)).ok());
  const auto& patches = std::get<PatchRows>(*job_->input);
  EXPECT_EQ(patches.values.data(), sent);
  EXPECT_EQ(patches.dtype, DType::kFp16);
  EXPECT_EQ(patches.grid, (GridThw{2, 2, 4}));
  EXPECT_FALSE(Reached(Stage::kDecode) || Reached(Stage::kResize));
}

TEST_F(PrepareTest, PatchesThatAreNotFiniteAreRefused) {
  for (const DType dtype : {DType::kBf16, DType::kFp16, DType::kFp32}) {
    v1::Item item = PatchesItem({1, 2, 2}, dtype);
    std::string& data = *item.mutable_patches()->mutable_data();
    data[data.size() - 1] = '\x7F';
    data[data.size() - 2] = '\xFF';  // the upper half of a NaN in all three
    const absl::Status refused = Run(std::move(item));
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(refused.message()), "patches.data holds a value that is not finite");
    Fail(std::move(job_), refused, clock_.Now());
  }
}

TEST_F(PrepareTest, PatchesThatNoPixelsCanBeAreRefused) {
  for (const auto& [value, taken] : {std::pair{1024.0F, true}, {-1024.0F, true}, {1025.0F, false}, {-1e20F, false}}) {
    v1::Item item = PatchesItem({1, 2, 2}, DType::kFp32);
    std::memcpy(item.mutable_patches()->mutable_data()->data() + 40, &value, sizeof(value));
    const absl::Status prepared = Run(std::move(item));
    EXPECT_EQ(prepared.ok(), taken) << value;
    EXPECT_THAT(std::string(prepared.message()), HasSubstr(taken ? "" : "beyond [-1024, 1024]"));
    Fail(std::move(job_), prepared, clock_.Now());
  }
}

TEST_F(PrepareTest, RgbIsResizedLikeTheImageOfTheSamePixels) {
  ASSERT_TRUE(Run(RgbItem(70, 100, {{200, 100, 50}}, 0)).ok());
  EXPECT_EQ(frames().grid, (GridThw{1, 6, 4}));
  EXPECT_EQ(frames().rgb.size(), 96U * 64 * 3);
  EXPECT_EQ(Pixel(0).red, 200);
  EXPECT_TRUE(Reached(Stage::kResize));
  EXPECT_FALSE(Reached(Stage::kDecode));
}

TEST_F(PrepareTest, AFrameListBecomesItsFramesInOrder) {
  v1::Item item = FramesItem(64, 96, Colours(5));
  item.mutable_frames()->set_fps(10);
  ASSERT_TRUE(Run(std::move(item)).ok());
  EXPECT_EQ(frames().frame_count, 5);
  EXPECT_EQ(frames().grid, (GridThw{3, 6, 4}));
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(Pixel(i).red, 10 + i);
  ASSERT_TRUE(job_->clip);
  EXPECT_THAT(job_->clip->frame_indices, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(job_->clip->source_fps, 10);
  ASSERT_EQ(job_->clip->slice_timestamps.size(), 3U);
  EXPECT_DOUBLE_EQ(job_->clip->slice_timestamps[2], 0.4);
  EXPECT_TRUE(job_->clip->padded);
  EXPECT_TRUE(Reached(Stage::kDecode) && Reached(Stage::kResize));
}

TEST_F(PrepareTest, AnEncodedClipBecomesItsSampledFrames) {
  v1::Item item = VideoItem(AnimatedGif(64, 96, Colours(9)));
  item.mutable_video()->mutable_sampling()->set_num_frames(3);
  ASSERT_TRUE(Run(std::move(item)).ok());
  EXPECT_EQ(frames().frame_count, 3);
  EXPECT_THAT(job_->clip->frame_indices, ElementsAre(0, 4, 8));
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(Pixel(i).red, 10 + 4 * i);
  EXPECT_EQ(job_->plan.grid, (GridThw{2, 6, 4}));
}

TEST_F(PrepareTest, WhatDoesNotDecodeNamesItsField) {
  v1::Item list = FramesItem(64, 96, Colours(3));
  list.mutable_frames()->set_images(1, SolidBmp(64, 64, {}));
  const absl::Status odd_one = Run(std::move(list));
  EXPECT_EQ(odd_one.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(odd_one.message()), HasSubstr("the field frames: "));
  EXPECT_THAT(std::string(odd_one.message()), HasSubstr("1"));
  EXPECT_TRUE(Reached(Stage::kDecode));
  EXPECT_FALSE(Reached(Stage::kResize));
}

TEST_F(PrepareTest, AClipWhoseClientHasGoneIsGivenUp) {
  for (v1::Item& item :
       std::vector<v1::Item>{VideoItem(AnimatedGif(64, 96, Colours(9))), FramesItem(64, 96, Colours(3))}) {
    const absl::Status prepared = Run(std::move(item), /*cancelled=*/true);
    EXPECT_TRUE(absl::IsCancelled(prepared)) << prepared;
    EXPECT_EQ(job_->input, nullptr);
    Fail(std::move(job_), prepared, clock_.Now());
  }
}

TEST_F(PrepareTest, WhatAnItemHeldIsFreed) {
  ASSERT_TRUE(Run(FramesItem(64, 96, Colours(2))).ok());
  EXPECT_EQ(call_->call->TakeItem(0).source_case(), v1::Item::SOURCE_NOT_SET);
}

}  // namespace
}  // namespace vitower
