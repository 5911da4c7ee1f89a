#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "preprocess/video.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

const ClipOptions kHub = {.min_pixels = 4096, .max_pixels = 25'165'824, .max_patches = 1 << 20};

ImageSize SizeOf(int64_t frames, int64_t height, int64_t width, const ClipOptions& options = kHub) {
  const absl::StatusOr<ImageSize> size = VideoSmartResize(frames, {.height = height, .width = width}, options);
  EXPECT_TRUE(size.ok()) << size.status();
  return size.value_or(ImageSize{});
}

std::string Refusal(int64_t frames, int64_t height, int64_t width, const ClipOptions& options = kHub) {
  return std::string(ClipGrid(frames, {.height = height, .width = width}, options).status().message());
}

// Vectors of the reference; those for an odd number tell its versions apart.
TEST(VideoSmartResize, GivesTheReferencesSizes) {
  EXPECT_EQ(SizeOf(5, 1120, 3760), (ImageSize{.height = 1120, .width = 3776}));
  EXPECT_EQ(SizeOf(4, 1080, 1920), (ImageSize{.height = 1088, .width = 1920}));
  EXPECT_EQ(SizeOf(180, 1080, 1920), (ImageSize{.height = 256, .width = 480}));
  ClipOptions large = kHub;
  large.max_pixels = 469'762'048;
  EXPECT_EQ(SizeOf(768, 1080, 1920, large), (ImageSize{.height = 576, .width = 1024}));
}

TEST(VideoSmartResize, ScalesSmallSidesUpFirst) {
  EXPECT_EQ(SizeOf(2, 16, 16), (ImageSize{.height = 64, .width = 64}));
  EXPECT_EQ(SizeOf(2, 20, 62), (ImageSize{.height = 32, .width = 96}));
}

TEST(VideoSmartResize, CountsOneFrameAsTwo) { EXPECT_EQ(SizeOf(1, 16, 16), SizeOf(2, 16, 16)); }

TEST(VideoSmartResize, LetsAnAspectRatioOf200PassAndNamesALargerOne) {
  EXPECT_EQ(SizeOf(2, 1, 200).height, 32);
  EXPECT_THAT(Refusal(2, 1, 201), HasSubstr("absolute aspect ratio must be smaller than 200, got 201"));
}

TEST(VideoSmartResize, WithoutResizeBothSidesMustFit) {
  ClipOptions as_is = kHub;
  as_is.do_resize = false;
  EXPECT_EQ(SizeOf(3, 64, 96, as_is), (ImageSize{.height = 64, .width = 96}));
  EXPECT_THAT(Refusal(3, 64, 100, as_is), HasSubstr("must be multiples of 32, got height 64 and width 100"));
  EXPECT_THAT(Refusal(3, 0, 32, as_is), HasSubstr("got height 0 and width 32"));
}

TEST(VideoSmartResize, RefusesWhatMakesNoSense) {
  EXPECT_THAT(Refusal(0, 64, 64), HasSubstr("1 to 1073741824 frames, got 0"));
  EXPECT_THAT(Refusal(2, 0, 64), HasSubstr("must be positive, got 64 x 0"));
  ClipOptions options = kHub;
  options.temporal_patch_size = 0;
  EXPECT_THAT(Refusal(2, 64, 64, options), HasSubstr("temporal patch size must be in [1, 1073741824], got 0"));
  options = kHub;
  options.max_pixels = 1;
  EXPECT_THAT(Refusal(2, 64, 64, options), HasSubstr("min_pixels 4096 and max_pixels 1"));
}

TEST(ClipGrid, RoundsAnOddNumberOfFramesUp) {
  EXPECT_EQ(*ClipGrid(7, {.height = 96, .width = 160}, kHub), (GridThw{.t = 4, .h = 6, .w = 10}));
  EXPECT_EQ(*ClipGrid(1, {.height = 96, .width = 160}, kHub), (GridThw{.t = 1, .h = 6, .w = 10}));
}

TEST(ClipGrid, RefusesMorePatchesThanTheLimit) {
  ClipOptions options = kHub;
  options.max_patches = 240;
  EXPECT_TRUE(ClipGrid(8, {.height = 96, .width = 160}, options).ok());
  EXPECT_THAT(Refusal(9, 96, 160, options), HasSubstr("a grid of 5 x 6 x 10 = 300 patches, the limit is 240"));
}

}  // namespace
}  // namespace vitower
