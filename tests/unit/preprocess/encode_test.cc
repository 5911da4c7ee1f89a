// What is encoded is what our decoders read: they were compared with others in tests/parity.
#include "preprocess/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "preprocess/video.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

// A ramp in red and blue, which codecs keep well.
RgbImage Ramp(int64_t width, int64_t height, uint8_t green) {
  RgbImage image{{height, width}, {}};
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (const int64_t value : {200 * x / width, int64_t{green}, 200 * y / height}) {
        image.rgb.push_back(static_cast<uint8_t>(value));
      }
    }
  }
  return image;
}

absl::Span<const uint8_t> BytesOfFile(const std::string& file) {
  return {reinterpret_cast<const uint8_t*>(file.data()), file.size()};
}

RgbImage Decoded(const std::string& file, ImageFormat format) {
  const absl::StatusOr<ImageHeader> header = ProbeImage(BytesOfFile(file));
  EXPECT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->format, format);
  return DecodeImage(BytesOfFile(file), *header, {}).value();
}

int LargestDifference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int largest = a.size() == b.size() ? 0 : 255;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

TEST(Encode, APngKeepsEveryPixelAndAJpegNearlySo) {
  const RgbImage image = Ramp(96, 64, 120);
  EXPECT_EQ(Decoded(*EncodeImage(image, ImageFormat::kPng), ImageFormat::kPng).rgb, image.rgb);
  const std::string good = *EncodeImage(image, ImageFormat::kJpeg, 95);
  EXPECT_LE(LargestDifference(Decoded(good, ImageFormat::kJpeg).rgb, image.rgb), 8);
  EXPECT_LT(EncodeImage(image, ImageFormat::kJpeg, 30)->size(), good.size());
}

TEST(Encode, AClipHasItsFramesInTheirOrder) {
  std::vector<RgbImage> frames;
  for (uint8_t i = 0; i < 14; ++i) frames.push_back(Ramp(96, 64, static_cast<uint8_t>(20 + 10 * i)));
  const absl::StatusOr<std::string> clip = EncodeClip(frames, 24);
  ASSERT_TRUE(clip.ok()) << clip.status();
  const VideoLimits limits = {.max_frame_pixels = 1 << 20, .max_seconds = 10, .max_frames = 100};
  SamplingOptions sampling;
  sampling.num_frames = 14;
  const absl::StatusOr<Clip> decoded =
      DecodeVideo(BytesOfFile(*clip), limits, sampling, {.do_resize = false, .max_patches = 1 << 16});
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ASSERT_EQ(decoded->frames.frame_count, 14);
  EXPECT_NEAR(*decoded->source_fps, 24, 0.01);
  const size_t middle = 3 * (32 * 96 + 48) + 1;
  for (size_t i = 0; i < 14; ++i) {
    EXPECT_NEAR(decoded->frames.rgb.data()[i * 96 * 64 * 3 + middle], 20 + 10 * static_cast<int>(i), 8) << i;
  }
}

TEST(Encode, WhatCannotBeEncodedIsRefused) {
  EXPECT_THAT(EncodeImage({}, ImageFormat::kPng).status().message(), HasSubstr("0x0"));
  EXPECT_EQ(EncodeImage(Ramp(8, 8, 0), ImageFormat::kGif).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(EncodeClip({Ramp(31, 32, 0)}, 24).status().message(), HasSubstr("even"));
  EXPECT_THAT(EncodeClip({Ramp(32, 32, 0), Ramp(34, 32, 0)}, 24).status().message(), HasSubstr("one size"));
  EXPECT_THAT(EncodeClip({}, 24).status().message(), HasSubstr("no frames"));
}

}  // namespace
}  // namespace vitower
