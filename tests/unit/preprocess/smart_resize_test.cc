#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "golden.h"
#include "preprocess/image.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kHubMinPixels = 65'536;
constexpr int64_t kHubMaxPixels = 16'777'216;

absl::StatusOr<ImageSize> HubSize(int64_t height, int64_t width) {
  return SmartResize({.height = height, .width = width}, 32, kHubMinPixels, kHubMaxPixels);
}

ImageOptions HubOptions() {
  ImageOptions options;
  options.min_pixels = kHubMinPixels;
  options.max_pixels = kHubMaxPixels;
  return options;
}

TEST(SmartResize, GivesTheReferencesSizeForEveryGoldenRow) {
  const nlohmann::json rows = GoldenJson("smart_resize.json");
  EXPECT_EQ(rows.size(), 300U);
  for (const auto& row : rows) {
    SCOPED_TRACE(row.dump());
    const absl::StatusOr<ImageSize> size = SmartResize({.height = row[0], .width = row[1]}, row[2], row[3], row[4]);
    if (size.ok()) {
      EXPECT_EQ(std::to_string(size->height) + " " + std::to_string(size->width), row[5]);
    } else {
      EXPECT_THAT(row[5].get<std::string>(), StartsWith("absolute aspect ratio must be smaller than 200, got "));
      EXPECT_THAT(std::string(size.status().message()),
                  StartsWith("absolute aspect ratio must be smaller than 200, got "));
    }
  }
}

TEST(SmartResize, RoundsHalfToEven) {
  const auto size = [](int64_t side) { return SmartResize({.height = side, .width = 320}, 32, 1, 1 << 24)->height; };
  EXPECT_EQ(size(48), 64);  // 1.5 -> 2
  EXPECT_EQ(size(80), 64);  // 2.5 -> 2
  EXPECT_EQ(size(112), 128);
}

TEST(SmartResize, LetsAnAspectRatioOf200PassAndNamesALargerOne) {
  EXPECT_EQ(*HubSize(1, 200), (ImageSize{.height = 32, .width = 3648}));
  const absl::Status status = HubSize(1, 201).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("absolute aspect ratio must be smaller than 200, got 201"));
}

TEST(SmartResize, RefusesSizesAndLimitsThatMakeNoSense) {
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(std::string(HubSize(0, 10).status().message()), HasSubstr("must be positive, got 10 x 0"));
  EXPECT_FALSE(HubSize(-5, -5).ok());
  EXPECT_THAT(std::string(HubSize(kHuge, kHuge).status().message()), HasSubstr("the limit is 67108864"));
  const absl::Status swapped = SmartResize({.height = 9, .width = 9}, 32, 100, 99).status();
  EXPECT_THAT(std::string(swapped.message()), HasSubstr("min_pixels 100 and max_pixels 99"));
  EXPECT_FALSE(SmartResize({.height = 9, .width = 9}, 32, 0, 99).ok());
  EXPECT_FALSE(SmartResize({.height = 9, .width = 9}, 32, 1, kHuge).ok());
  EXPECT_FALSE(SmartResize({.height = 9, .width = 9}, 0, 1, 99).ok());
}

TEST(TargetSize, TurnsAPictureOnItsSideBeforeSizingIt) {
  const ImageHeader header = {
      .format = ImageFormat::kJpeg, .size = {.height = 1080, .width = 1920}, .exif_orientation = 6};
  ImageOptions options = HubOptions();
  EXPECT_EQ(*TargetSize(header, options), (ImageSize{.height = 1920, .width = 1088}));
  options.apply_exif = false;
  EXPECT_EQ(*TargetSize(header, options), (ImageSize{.height = 1088, .width = 1920}));
}

TEST(TargetSize, WithoutResizeBothSidesMustFit) {
  ImageOptions options = HubOptions();
  options.do_resize = false;
  ImageHeader header = {.format = ImageFormat::kPng, .size = {.height = 64, .width = 96}};
  EXPECT_EQ(*TargetSize(header, options), header.size);
  header.size.width = 100;
  EXPECT_THAT(std::string(TargetSize(header, options).status().message()),
              HasSubstr("must be multiples of 32, got height 64 and width 100"));
}

TEST(TargetSize, RefusesPatchSizesThatMakeNoSense) {
  ImageOptions options = HubOptions();
  options.patch_size = 0;
  const ImageHeader header = {.format = ImageFormat::kPng, .size = {.height = 64, .width = 96}};
  EXPECT_THAT(std::string(TargetSize(header, options).status().message()), HasSubstr("patch size 0"));
}

}  // namespace
}  // namespace vitower
