// Clips of raw frames and of encoded images.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "golden.h"
#include "preprocess/resample.h"
#include "preprocess/video.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const ClipOptions kOptions = {.min_pixels = 1, .max_pixels = 1 << 24, .max_patches = 1 << 16};
constexpr VideoLimits kLimits = {.max_frame_pixels = 1 << 24, .max_seconds = 100, .max_frames = 100};

std::vector<uint8_t> Pixels(int64_t frames, ImageSize size) {
  std::vector<uint8_t> rgb(static_cast<size_t>(frames * size.height * size.width * 3));
  std::iota(rgb.begin(), rgb.end(), uint8_t{0});
  return rgb;
}

TEST(ResizeClip, MovesPixelsThatFitAlready) {
  constexpr ImageSize kSize = {.height = 32, .width = 64};
  std::vector<uint8_t> rgb = Pixels(3, kSize);
  const uint8_t* data = rgb.data();
  const absl::StatusOr<Clip> clip = ResizeClip(std::move(rgb), 3, kSize, 10.0, std::nullopt, kOptions);
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_EQ(clip->frames.rgb.data(), data);
  EXPECT_EQ(clip->frames.frame_count, 3);
  EXPECT_EQ(clip->frames.grid, (GridThw{.t = 2, .h = 2, .w = 4}));
  EXPECT_TRUE(clip->padded);
  EXPECT_THAT(clip->slice_timestamps, ElementsAre(0.05, 0.2));
}

TEST(ResizeClip, ResizesEachFrameOnItsOwn) {
  constexpr ImageSize kFrom = {.height = 41, .width = 70};
  constexpr ImageSize kTo = {.height = 32, .width = 64};
  const std::vector<uint8_t> rgb = Pixels(2, kFrom);
  const absl::StatusOr<Clip> clip = ResizeClip(std::vector(rgb), 2, kFrom, std::nullopt, std::nullopt, kOptions);
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_FALSE(clip->padded);
  EXPECT_THAT(clip->slice_timestamps, IsEmpty());
  const size_t in = rgb.size() / 2;
  std::vector<uint8_t> want(2 * 32 * 64 * 3);
  for (size_t i = 0; i < 2; ++i) {
    const absl::Span<uint8_t> slot = absl::MakeSpan(want).subspan(i * want.size() / 2, want.size() / 2);
    ResampleBicubic(absl::MakeConstSpan(rgb).subspan(i * in, in), kFrom, slot, kTo);
  }
  EXPECT_TRUE(std::equal(want.begin(), want.end(), clip->frames.rgb.begin(), clip->frames.rgb.end()));
}

TEST(ResizeClip, TakesTheSampledFramesOnly) {
  constexpr ImageSize kSize = {.height = 32, .width = 32};
  constexpr size_t kFrameBytes = 32 * 32 * 3;
  std::vector<uint8_t> rgb(9 * kFrameBytes);
  for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<uint8_t>(i / kFrameBytes);
  const absl::StatusOr<Clip> clip =
      ResizeClip(std::move(rgb), 9, kSize, std::nullopt, SamplingOptions{.num_frames = 3}, kOptions);
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_THAT(clip->frame_indices, ElementsAre(0, 4, 8));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(clip->frames.rgb[i * kFrameBytes + 7], 4 * i);
}

TEST(ResizeClip, RefusesWhatItCannotSize) {
  const auto refusal = [](int64_t frames, ImageSize size, std::optional<double> fps) {
    return std::string(ResizeClip(Pixels(frames, size), frames, size, fps, std::nullopt, kOptions).status().message());
  };
  EXPECT_EQ(refusal(0, {.height = 32, .width = 32}, std::nullopt), "the clip has no frames");
  EXPECT_THAT(refusal(2, {.height = 32, .width = 32}, 0.0), HasSubstr("must be positive, got 0"));
  EXPECT_THAT(refusal(2, {.height = 1, .width = 201}, std::nullopt), HasSubstr("aspect ratio"));
}

absl::StatusOr<Clip> DecodeList(const std::vector<std::vector<uint8_t>>& images,
                                const std::optional<SamplingOptions>& sampling = {},
                                const VideoLimits& limits = kLimits) {
  const std::vector<absl::Span<const uint8_t>> spans(images.begin(), images.end());
  return DecodeFrameList(spans, 4.0, sampling, limits, ImageOptions{}, kOptions);
}

TEST(DecodeFrameList, GivesEachImagesOwnPixels) {
  const std::vector<uint8_t> png = GoldenBytes("rgb.png");
  const absl::StatusOr<RgbImage> image = DecodeImage(png, *ProbeImage(png), ImageOptions{});
  const absl::StatusOr<Clip> clip = DecodeList({png, png, png});
  ASSERT_TRUE(clip.ok()) << clip.status();
  std::vector<uint8_t> three;
  for (int i = 0; i < 3; ++i) three.insert(three.end(), image->rgb.begin(), image->rgb.end());
  const absl::StatusOr<Clip> want = ResizeClip(three, 3, image->size, 4.0, std::nullopt, kOptions);
  EXPECT_TRUE(
      std::equal(want->frames.rgb.begin(), want->frames.rgb.end(), clip->frames.rgb.begin(), clip->frames.rgb.end()));
  EXPECT_THAT(clip->slice_timestamps, ElementsAre(0.125, 0.5));
}

TEST(DecodeFrameList, DecodesOnlyWhatIsSampled) {
  const std::vector<uint8_t> good = GoldenBytes("rgb.png");
  const std::vector<uint8_t> damaged(good.begin(), good.end() - 50);
  EXPECT_TRUE(DecodeList({good, damaged, good}, SamplingOptions{.num_frames = 2}).ok());
  EXPECT_THAT(std::string(DecodeList({good, damaged, good}).status().message()),
              HasSubstr("image 1 of the clip: cannot decode PNG"));
}

TEST(DecodeFrameList, EndsBeforeTheNextImageOnceNobodyWaitsForTheClip) {
  const std::vector<uint8_t> good = GoldenBytes("rgb.png");
  const std::vector<uint8_t> damaged(good.begin(), good.end() - 50);
  const std::vector<absl::Span<const uint8_t>> images = {good, good, damaged};
  ClipOptions options = kOptions;
  options.gone = [questions = 0]() mutable { return ++questions == 3; };
  const absl::StatusOr<Clip> clip = DecodeFrameList(images, 4.0, std::nullopt, kLimits, ImageOptions{}, options);
  EXPECT_TRUE(absl::IsCancelled(clip.status())) << clip.status();
}

TEST(DecodeFrameList, NamesTheImageThatDoesNotFit) {
  const std::vector<uint8_t> png = GoldenBytes("rgb.png");
  const auto message = [](const absl::StatusOr<Clip>& clip) { return std::string(clip.status().message()); };
  EXPECT_THAT(message(DecodeList({GoldenBytes("exif_1.jpg"), GoldenBytes("exif_6.jpg")})),
              HasSubstr("image 1 of the clip: it has 16 x 24 pixels, image 0 has 24 x 16: all must have one size"));
  EXPECT_THAT(message(DecodeList({png, {'n', 'o'}})), HasSubstr("image 1 of the clip: unknown image format"));
  EXPECT_EQ(message(DecodeList({})), "the clip has no frames");
  VideoLimits limits = kLimits;
  limits.max_frames = 1;
  EXPECT_EQ(message(DecodeList({png, png}, {}, limits)), "the clip has 2 frames, the limit is 1");
  limits.max_frame_pixels = 9;
  EXPECT_THAT(message(DecodeList({png}, {}, limits)), HasSubstr("the limit"));
}

}  // namespace
}  // namespace vitower
