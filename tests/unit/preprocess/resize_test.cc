#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "golden.h"
#include "preprocess/image.h"
#include "preprocess/resample.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

RgbImage Picture(int64_t height, int64_t width) {
  return {.size = {.height = height, .width = width}, .rgb = Pattern(5, static_cast<size_t>(3 * height * width))};
}

TEST(ResizeToFrames, MakesOneFrameWithItsGrid) {
  const RgbImage image = Picture(50, 70);
  const absl::StatusOr<Frames> frames = ResizeToFrames(image, {.height = 64, .width = 96}, {});
  ASSERT_TRUE(frames.ok()) << frames.status();
  EXPECT_EQ(frames->frame_count, 1);
  EXPECT_EQ(frames->grid, (GridThw{.t = 1, .h = 4, .w = 6}));
  std::vector<uint8_t> expected(64 * 96 * 3);
  ResampleBicubic(image.rgb, image.size, absl::MakeSpan(expected), {.height = 64, .width = 96});
  EXPECT_EQ(std::vector<uint8_t>(frames->rgb.begin(), frames->rgb.end()), expected);
}

TEST(ResizeToFrames, MovesAnImageThatHasTheSizeAlready) {
  RgbImage image = Picture(32, 64);
  const uint8_t* pixels = image.rgb.data();
  const absl::StatusOr<Frames> frames = ResizeToFrames(std::move(image), {.height = 32, .width = 64}, {});
  ASSERT_TRUE(frames.ok()) << frames.status();
  EXPECT_EQ(frames->rgb.data(), pixels);
}

TEST(ResizeToFrames, RefusesATargetThatIsNoMultipleOfTheFactor) {
  const absl::Status status = ResizeToFrames(Picture(50, 70), {.height = 64, .width = 80}, {}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("multiples of 32, got height 64 and width 80"));
}

TEST(ResizeToFrames, RefusesPixelsThatDoNotFitTheirSize) {
  RgbImage image = Picture(50, 70);
  image.rgb.pop_back();
  const absl::Status status = ResizeToFrames(std::move(image), {.height = 64, .width = 96}, {}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("70 x 50 pixels needs 10500 bytes, got 10499"));
}

}  // namespace
}  // namespace vitower
