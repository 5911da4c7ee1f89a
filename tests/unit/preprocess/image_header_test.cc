#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "golden.h"
#include "preprocess/exif.h"
#include "preprocess/image.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

std::string UpperName(ImageFormat format) {
  std::string name(Name(format));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  return name;
}

std::vector<uint8_t> Bytes(std::string_view text) { return {text.begin(), text.end()}; }

int OrientationOfExif(const std::vector<uint8_t>& exif) {
  return Orientation({.exif = ByteView(exif), .xmp = std::nullopt});
}

int OrientationOfXmp(std::string_view text) {
  const std::vector<uint8_t> xmp = Bytes(text);
  return Orientation({.exif = std::nullopt, .xmp = ByteView(xmp)});
}

std::vector<uint8_t> LittleExif(uint8_t type, uint8_t count, uint8_t value) {
  return {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, type, 0, count, 0, 0, 0, value, 0, 0, 0};
}

TEST(ProbeImage, ReadsFormatSizeAndOrientationOfEveryGoldenFile) {
  const std::vector<GoldenFile> files = GoldenFiles();
  EXPECT_GE(files.size(), 40U);
  for (const GoldenFile& file : files) {
    SCOPED_TRACE(file.name);
    const absl::StatusOr<ImageHeader> header = ProbeImage(file.bytes);
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(UpperName(header->format), file.format);
    EXPECT_EQ(header->size, file.header.size);
    EXPECT_EQ(header->exif_orientation, file.header.exif_orientation);
  }
}

TEST(ProbeImage, NeedsOnlyTheHeaderOfAFile) {
  std::vector<uint8_t> png = GoldenBytes("rgb.png");
  png.resize(33);
  const absl::StatusOr<ImageHeader> header = ProbeImage(png);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->size, (ImageSize{.height = 37, .width = 45}));
}

TEST(ProbeImage, AcceptsAnImageOfExactlyTheLimit) {
  EXPECT_TRUE(ProbeImage(GoldenBytes("rgb.png"), 37 * 45).ok());
  const absl::Status status = ProbeImage(GoldenBytes("rgb.png"), 37 * 45 - 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("45 x 37 = 1665 pixels, the limit (--max-image-pixels) is 1664"));
}

TEST(DecodeBytes, CountsWhatTheDecoderHoldsBesideThePicture) {
  const auto bytes_per_pixel = [](const char* name, const ImageOptions& options) {
    const absl::StatusOr<ImageHeader> header = ProbeImage(GoldenBytes(name));
    EXPECT_TRUE(header.ok()) << header.status();
    return static_cast<double>(DecodeBytes(*header, options)) /
           static_cast<double>(header->size.height * header->size.width);
  };
  const ImageOptions plain;
  ImageOptions blended;
  blended.background = {0, 0, 0};
  EXPECT_EQ(bytes_per_pixel("baseline_420.jpg", plain), 3);
  EXPECT_GE(bytes_per_pixel("progressive_422.jpg", plain), 3 + 2 * 2);  // two samples a pixel, of two bytes
  EXPECT_LT(bytes_per_pixel("progressive_422.jpg", plain), 3 + 2 * 3);  // blocks at the edges are filled up
  EXPECT_EQ(bytes_per_pixel("exif_6.jpg", plain), 6);
  EXPECT_EQ(bytes_per_pixel("rgb.png", plain), 6);
  EXPECT_EQ(bytes_per_pixel("rgba.png", blended), 11);
}

TEST(Orientation, IsReadFromEitherByteOrderWithOrWithoutPrefix) {
  EXPECT_EQ(OrientationOfExif(LittleExif(3, 1, 6)), 6);
  EXPECT_EQ(OrientationOfExif(LittleExif(4, 1, 8)), 8);
  std::vector<uint8_t> big = {'E', 'x', 'i', 'f',  0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8,
                              0,   1,   1,   0x12, 0, 3, 0,   0,   0, 1,  0, 5, 0, 0};
  EXPECT_EQ(OrientationOfExif(big), 5);
}

TEST(Orientation, IsUprightWhenTheTagMakesNoSense) {
  EXPECT_EQ(OrientationOfExif(LittleExif(3, 1, 0)), 1);
  EXPECT_EQ(OrientationOfExif(LittleExif(3, 1, 9)), 1);
  EXPECT_EQ(OrientationOfExif(LittleExif(3, 2, 6)), 1);
  EXPECT_EQ(OrientationOfExif(LittleExif(2, 1, 6)), 1);
  EXPECT_EQ(OrientationOfExif({}), 1);
  EXPECT_EQ(OrientationOfExif(Bytes("not a TIFF structure")), 1);
}

TEST(Orientation, StaysInsideDamagedExif) {
  std::vector<uint8_t> exif = LittleExif(3, 1, 6);
  std::vector<uint8_t> far = exif;
  std::fill(far.begin() + 4, far.begin() + 8, uint8_t{0xFF});
  EXPECT_EQ(OrientationOfExif(far), 1);
  std::vector<uint8_t> many = exif;
  many[8] = many[9] = 0xFF;
  many[10] = 0;
  EXPECT_EQ(OrientationOfExif(many), 1);
  for (size_t size = 0; size < exif.size(); ++size) {
    EXPECT_EQ(OrientationOfExif({exif.begin(), exif.begin() + static_cast<int64_t>(size)}), 1) << size;
  }
}

TEST(Orientation, FallsBackToXmpOnlyWithoutATag) {
  EXPECT_EQ(OrientationOfXmp("<r tiff:Orientation=\"6\"/>"), 6);
  EXPECT_EQ(OrientationOfXmp("tiff:Orientation tiff:Orientation>3<"), 3);
  EXPECT_EQ(OrientationOfXmp("tiff:Orientation=\""), 1);
  const std::vector<uint8_t> exif = LittleExif(3, 1, 2);
  const std::vector<uint8_t> xmp = Bytes("tiff:Orientation=\"6\"");
  EXPECT_EQ(Orientation({.exif = ByteView(exif), .xmp = ByteView(xmp)}), 2);
}

}  // namespace
}  // namespace vitower
