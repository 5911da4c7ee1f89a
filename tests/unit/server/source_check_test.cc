#include "server/source_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/item_check.h"
#include "tests/support/puppet_encoder.h"
#include "tests/support/test_items.h"
#include "tests/unit/server/source_limits.h"

namespace vitower {
namespace {

using testing::HasSubstr;

constexpr int64_t kPatchBytes = 3 * 2 * 16 * 16;  // of uint8 values

absl::StatusOr<ItemPlan> Plan(const v1::Item& item, const EncoderInfo& info = PuppetInfo()) {
  ItemPlan plan;
  if (absl::Status set = PlanSource(item, info, kSourceLimits, plan); !set.ok()) return set;
  return plan;
}

// The plan of an item that is good.
ItemPlan Good(const v1::Item& item) {
  const auto plan = Plan(item);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.value_or(ItemPlan());
}

TEST(PlanSource, AnEncodedClipIsSampledByTheModelsRule) {
  const ItemPlan plan = Good(VideoItem(AnimatedGif(64, 96, Colours(30))));
  const auto& video = std::get<VideoPlan>(plan.source);
  EXPECT_EQ(video.sampling.fps, 2);
  EXPECT_EQ(video.sampling.max_frames, 768);
  EXPECT_EQ(video.options.max_pixels, 1 << 24);
  EXPECT_EQ(video.limits.max_seconds, 60);
  EXPECT_EQ(video.limits.max_frame_pixels, 100'000);
  EXPECT_EQ(plan.decode_bytes, 64 * 96 * 24);  // with the pictures that others refer to
  EXPECT_EQ(plan.clip_bytes, plan.grid.patches() * kPatchBytes);
  EXPECT_TRUE(IsClip(plan));
}

TEST(PlanSource, ASideThatTheEncoderRefusesIsRefusedAtTheDoor) {
  ItemLimits limits = kSourceLimits;
  limits.max_item_patches = 1 << 20;
  v1::Item item = PatchesItem({1, 2, 2}, DType::kBf16);
  const auto refusal = [&](int64_t w) {
    item.mutable_patches()->mutable_grid_thw()->set_w(static_cast<uint32_t>(w));
    return std::string(CheckItem(item, PuppetInfo(), limits).status().message());
  };
  EXPECT_EQ(refusal(kMaxGridSide + 2),
            "patches.grid_thw makes a grid of 1 x 2 x 65538 patches; the largest side is 65536");
  EXPECT_THAT(refusal(kMaxGridSide), HasSubstr("patches.data has 12288 bytes instead of 131072 rows"));
}

TEST(PlanSource, OverridesOfSamplingAreTaken) {
  v1::Item item = VideoItem(AnimatedGif(64, 96, Colours(30)));
  v1::Sampling& wanted = *item.mutable_video()->mutable_sampling();
  wanted.set_fps(7.5);
  wanted.set_min_frames(2);
  wanted.set_max_frames(20);
  wanted.set_start_seconds(0.5);
  wanted.set_end_seconds(2);
  const SamplingOptions got = std::get<VideoPlan>(Good(item).source).sampling;
  EXPECT_EQ(got.fps, 7.5);
  EXPECT_EQ(got.min_frames, 2);
  EXPECT_EQ(got.max_frames, 20);
  EXPECT_EQ(got.start_seconds, 0.5);
  EXPECT_EQ(got.end_seconds, 2);
  wanted.Clear();
  wanted.set_num_frames(6);
  EXPECT_EQ(Good(item).grid, (GridThw{3, 6, 4}));
}

TEST(PlanSource, AFrameListIsTakenWholeUnlessSamplingIsSet) {
  v1::Item item = FramesItem(64, 96, Colours(9));
  EXPECT_EQ(Good(item).grid, (GridThw{5, 6, 4}));
  EXPECT_EQ(std::get<FrameListPlan>(Good(item).source).fps, std::nullopt);
  item.mutable_frames()->mutable_sampling()->set_num_frames(2);
  EXPECT_EQ(Good(item).grid, (GridThw{1, 6, 4}));
  item.mutable_frames()->mutable_sampling()->clear_num_frames();
  item.mutable_frames()->set_fps(1);
  EXPECT_EQ(Good(item).grid, (GridThw{5, 6, 4}));  // 2 a second are more than there are
}

TEST(PlanSource, RgbWithoutFramesIsAnImage) {
  const ItemPlan plan = Good(RgbItem(64, 50, {{1, 2, 3}}, 0));
  EXPECT_EQ(std::get<RgbImagePlan>(plan.source).target, (ImageSize{64, 64}));
  EXPECT_EQ(plan.grid, (GridThw{1, 4, 4}));
  EXPECT_FALSE(IsClip(plan));
}

TEST(PlanSource, RgbWithFramesIsAClip) {
  EXPECT_EQ(Good(RgbItem(64, 96, Colours(3), 3)).grid, (GridThw{2, 6, 4}));
  EXPECT_EQ(Good(RgbItem(64, 96, Colours(3), 3)).clip_bytes, 0);  // nothing but the request
  v1::Item item = RgbItem(64, 90, Colours(3), 3);
  EXPECT_EQ(Good(item).clip_bytes, 2 * 6 * 4 * kPatchBytes);
  item.mutable_rgb()->set_fps(30);
  item.mutable_rgb()->mutable_sampling();
  EXPECT_EQ(Good(item).grid, (GridThw{2, 6, 4}));  // the model's own sampling: never more than there are
}

TEST(PlanSource, PatchesAreTakenAsTheyAre) {
  const ItemPlan plan = Good(PatchesItem({3, 2, 4}, DType::kBf16));
  EXPECT_EQ(plan.grid, (GridThw{3, 2, 4}));
  EXPECT_EQ(std::get<PatchesPlan>(plan.source).dtype, DType::kBf16);
  EXPECT_EQ(Good(PatchesItem({100, 2, 2}, DType::kFp32)).grid.patches(), kSourceLimits.max_item_patches);
}

TEST(PlanSource, BoundsOfAClipAreVolumes) {
  v1::Item item = RgbItem(64, 96, Colours(4), 4);
  item.mutable_preprocessing()->set_max_pixels(2 * 64 * 96);
  EXPECT_LE(Good(item).grid.patches() * 2 * 256, 2 * 64 * 96);
}

TEST(PlanSource, WithoutAVideoProcessorOnlyClipsAreRefused) {
  EncoderInfo info = PuppetInfo();
  info.video_processor.reset();
  for (const v1::Item& clip : {VideoItem("bytes"), FramesItem(32, 32, Colours(2)), RgbItem(32, 32, Colours(2), 2)}) {
    const absl::Status status = Plan(clip, info).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("no video_preprocessor_config.json"));
  }
  EXPECT_TRUE(Plan(RgbItem(32, 32, Colours(1), 0), info).ok());
  EXPECT_TRUE(Plan(PatchesItem({4, 2, 2}, DType::kFp16), info).ok());
}

}  // namespace
}  // namespace vitower
