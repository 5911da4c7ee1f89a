#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "golden.h"
#include "preprocess/image.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<RgbImage> Decode(const std::vector<uint8_t>& bytes, const ImageOptions& options = {}) {
  const absl::StatusOr<ImageHeader> header = ProbeImage(bytes);
  if (!header.ok()) return header.status();
  return DecodeImage(bytes, *header, options);
}

TEST(DecodeImage, GivesTheReferencesPixelsForEveryGoldenFile) {
  for (const GoldenFile& file : GoldenFiles()) {
    SCOPED_TRACE(file.name);
    const absl::StatusOr<RgbImage> image = Decode(file.bytes);
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(Sha256(image->rgb), file.rgb);
  }
}

TEST(DecodeImage, CompositesTransparentPixelsOnTheBackground) {
  ImageOptions options;
  options.background = {255, 255, 255};
  int transparent_files = 0;
  for (const GoldenFile& file : GoldenFiles()) {
    SCOPED_TRACE(file.name);
    const absl::StatusOr<RgbImage> image = Decode(file.bytes, options);
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(Sha256(image->rgb), file.on_white);
    transparent_files += file.on_white != file.rgb ? 1 : 0;
  }
  EXPECT_GE(transparent_files, 8);
}

TEST(DecodeImage, LeavesThePictureAsStoredWithoutApplyExif) {
  ImageOptions as_stored;
  as_stored.apply_exif = false;
  const absl::StatusOr<RgbImage> stored = Decode(GoldenBytes("exif_6.jpg"), as_stored);
  const absl::StatusOr<RgbImage> upright = Decode(GoldenBytes("exif_6.jpg"));
  ASSERT_TRUE(stored.ok() && upright.ok());
  EXPECT_EQ(stored->size, (ImageSize{.height = 16, .width = 24}));
  EXPECT_EQ(upright->size, (ImageSize{.height = 24, .width = 16}));
  // Turned a quarter clockwise, the stored picture's bottom left corner comes to the top left.
  const uint8_t* corner = &stored->rgb[3 * 15 * 24];
  EXPECT_TRUE(std::equal(corner, corner + 3, upright->rgb.begin()));
}

TEST(DecodeImage, RefusesDataOfAnotherSizeThanTheHeader) {
  for (const char* name : {"baseline_420.jpg", "rgb.png", "lossy.webp", "rgb.bmp", "offset.gif"}) {
    SCOPED_TRACE(name);
    const std::vector<uint8_t> bytes = GoldenBytes(name);
    ImageHeader header = *ProbeImage(bytes);
    header.size.width += 1;
    const absl::Status status = DecodeImage(bytes, header, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("the header says"));
  }
}

TEST(DecodeImage, GivesTheSamePixelsOnEveryOfManyThreads) {
  const std::vector<GoldenFile> files = GoldenFiles();
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (const GoldenFile& file : files) {
        const absl::StatusOr<RgbImage> image = Decode(file.bytes);
        wrong += image.ok() && Sha256(image->rgb) == file.rgb ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(DecodeImage, DropsTheLowByteOf16BitSamples) {
  const absl::StatusOr<RgbImage> image = Decode(GoldenBytes("gray_16.png"));
  ASSERT_TRUE(image.ok()) << image.status();
  const auto [darkest, brightest] = std::minmax_element(image->rgb.begin(), image->rgb.end());
  EXPECT_LT(*darkest, 10);
  EXPECT_GT(*brightest, 245);
}

}  // namespace
}  // namespace vitower
