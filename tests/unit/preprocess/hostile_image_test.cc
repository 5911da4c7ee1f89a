// Bytes made to hurt: each must come back as a message or as a picture of the size that was promised.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string_view>

#include "golden.h"
#include "preprocess/image.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

absl::Status Probe(std::string_view text) {
  return ProbeImage(std::vector<uint8_t>(text.begin(), text.end())).status();
}

std::vector<uint8_t> Prefix(const std::vector<uint8_t>& bytes, size_t size) {
  return {bytes.begin(), bytes.begin() + static_cast<int64_t>(size)};
}

std::vector<uint8_t> PngHeader(uint32_t width, uint32_t height) {
  std::vector<uint8_t> png = Prefix(GoldenBytes("rgb.png"), 33);
  for (size_t i = 0; i < 4; ++i) {
    png[16 + i] = static_cast<uint8_t>(width >> (24 - 8 * i));
    png[20 + i] = static_cast<uint8_t>(height >> (24 - 8 * i));
  }
  return png;
}

// Probes and decodes; a picture must have the probed size. The status of the step that refused, else OK.
absl::Status TryDecode(const std::vector<uint8_t>& bytes) {
  constexpr int64_t kLimit = 1 << 20;
  const absl::StatusOr<ImageHeader> header = ProbeImage(bytes, kLimit);
  if (!header.ok()) return header.status();
  const absl::StatusOr<RgbImage> image = DecodeImage(bytes, *header, {.apply_exif = false, .background = {}});
  if (!image.ok()) return image.status();
  EXPECT_EQ(image->size, header->size);
  EXPECT_EQ(static_cast<int64_t>(image->rgb.size()), 3 * header->size.height * header->size.width);
  return absl::OkStatus();
}

void ExpectRefused(const absl::Status& status, std::string_view message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(message)));
}

TEST(HostileImage, HugeClaimsAreRefusedFromTheHeaderWithTheLimit) {
  ExpectRefused(ProbeImage(PngHeader(60'000, 60'000)).status(),
                "image claims 60000 x 60000 = 3600000000 pixels, the limit (--max-image-pixels) is 178956970");
  ExpectRefused(ProbeImage(PngHeader(30'000, 30'000)).status(), "30000 x 30000 = 900000000 pixels");
  ExpectRefused(ProbeImage(PngHeader(0x7FFFFFFF, 0x7FFFFFFF)).status(), "the limit (--max-image-pixels)");
  ExpectRefused(ProbeImage(PngHeader(0xFFFFFFFF, 1)).status(), "claims a size of 4294967295 x 1 pixels");
}

TEST(HostileImage, EmptyAndUnknownAreNamed) {
  ExpectRefused(Probe(""), "image is empty: 0 bytes");
  ExpectRefused(Probe("hello, I am a text"), "unknown image format, it begins with the bytes \"hello, I am \"");
  ExpectRefused(Probe("II*\0 a TIFF file"), "accepted are JPEG, PNG, WebP, BMP and GIF");
  ExpectRefused(Probe("RIFF\x10\0\0\0WAVE"), "unknown image format");
}

TEST(HostileImage, ZeroSizesAreRefused) {
  ExpectRefused(ProbeImage(PngHeader(0, 10)).status(), "PNG claims a size of 0 x 10 pixels");
  ExpectRefused(Probe({"\xFF\xD8\xFF\xC0\0\x0B\x08\0\0\0\x10\x01\0\0\0", 15}), "JPEG claims a size of 16 x 0 pixels");
  ExpectRefused(Probe({"GIF89a\x05\0\x05\0\0\0\0,\0\0\0\0\0\0\x05\0\0", 23}), "GIF has an empty first frame");
}

TEST(HostileImage, WhatNoDecoderHereReadsIsRefusedByTheProbe) {
  ExpectRefused(Probe({"\xFF\xD8\xFF\xC0\0\x0B\x0C\0\x10\0\x10\x01\0\0\0", 15}), "JPEG has 12 bits a sample");
  ExpectRefused(Probe({"\xFF\xD8\xFF\xC0\0\x0B\x08\0\x10\0\x10\x02\0\0\0", 15}), "JPEG has 2 components");
  std::vector<uint8_t> webp = GoldenBytes("exif.webp");
  webp[20] |= 0x02;
  ExpectRefused(ProbeImage(webp).status(), "WebP is animated");
  std::vector<uint8_t> bmp = GoldenBytes("rgb.bmp");
  bmp[28] = 16;
  ExpectRefused(ProbeImage(bmp).status(), "BMP has 16 bits a pixel");
  std::vector<uint8_t> masked = GoldenBytes("bitfields.bmp");
  masked[54] = 1;
  ExpectRefused(ProbeImage(masked).status(), "channel masks");
}

TEST(HostileImage, EveryPrefixOfEveryFileIsRefusedOrWhole) {
  for (const GoldenFile& file : GoldenFiles()) {
    SCOPED_TRACE(file.name);
    const std::vector<uint8_t>& bytes = file.bytes;
    const absl::StatusOr<RgbImage> whole = DecodeImage(bytes, *ProbeImage(bytes), {});
    for (size_t size = 0; size < bytes.size(); ++size) {
      const std::vector<uint8_t> prefix = Prefix(bytes, size);
      const absl::StatusOr<ImageHeader> header = ProbeImage(prefix);
      if (!header.ok()) continue;
      const absl::StatusOr<RgbImage> image = DecodeImage(prefix, *header, {});
      if (!image.ok()) continue;
      // Formats with an end mark may miss it; never a pixel.
      EXPECT_EQ(image->rgb, whole->rgb) << size << " of " << bytes.size() << " bytes";
      EXPECT_EQ(file.format, "GIF") << size;
    }
  }
}

TEST(HostileImage, ATruncatedFileSaysSo) {
  for (const auto& [name, message] : {std::pair{"baseline_420.jpg", "cannot decode JPEG: the file is truncated"},
                                      {"progressive_422.jpg", "cannot decode JPEG: the file is truncated"},
                                      {"rgb.png", "cannot decode PNG: the file is truncated"},
                                      {"lossy.webp", "cannot decode WebP: the file is truncated"},
                                      {"rgb.bmp", "cannot decode BMP: the file is truncated"},
                                      {"interlaced.gif", "cannot decode GIF:"}}) {
    SCOPED_TRACE(name);
    const std::vector<uint8_t> bytes = GoldenBytes(name);
    ExpectRefused(TryDecode(Prefix(bytes, bytes.size() - 50)), message);
  }
}

// cv::imdecode would give it to a reader for DICOM, which allocates 2 GB for the value and ends the program.
TEST(HostileImage, ADamagedWebpIsGivenToNoOtherDecoder) {
  std::vector<uint8_t> bytes(400);
  const std::string_view head("RIFF\x88\x01\0\0WEBPVP8X\x0A\0\x78\0\0\0\0\0\x17\0\0\x0F\0\0", 30);
  const std::string_view dicom("DICM\x02\0\x10\0OB\0\0\xF0\xFF\xFF\x7F", 16);
  std::copy(head.begin(), head.end(), bytes.begin());
  std::copy(dicom.begin(), dicom.end(), bytes.begin() + 128);
  ExpectRefused(TryDecode(bytes), "cannot decode WebP: the data is damaged");
}

TEST(HostileImage, AJpegWithItsMiddleCutOutIsNotFilledUp) {
  std::vector<uint8_t> bytes = GoldenBytes("baseline_420.jpg");
  bytes.erase(bytes.end() - 300, bytes.end() - 2);
  ExpectRefused(TryDecode(bytes), "the data is damaged or truncated");
}

// Sixteen ones are no code in any table; a zero byte is stuffed behind each 0xFF.
TEST(HostileImage, AJpegWhoseCodesMakeNoSenseIsNotGuessedAt) {
  std::vector<uint8_t> bytes = GoldenBytes("baseline_420.jpg");
  for (auto at = bytes.end() - 400; at != bytes.end() - 300; ++at) *at = (bytes.end() - at) % 2 == 0 ? 0xFF : 0x00;
  ExpectRefused(TryDecode(bytes), "the data is damaged or truncated");
}

// Found by image_fuzz: the transparent gray is scaled by the bit depth, and none was zero until then.
TEST(HostileImage, APngWithoutBitsIsRefused) {
  std::vector<uint8_t> bytes = GoldenBytes("gray_trns.png");
  bytes[24] = 0;
  ExpectRefused(ProbeImage(bytes).status(), "PNG has 0 bits a sample, expected 1, 2, 4, 8 or 16");
}

TEST(HostileImage, EndlessScansAreStopped) {
  const std::vector<uint8_t> bytes = GoldenBytes("progressive_422.jpg");
  constexpr std::array<uint8_t, 2> kStartOfScan = {0xFF, 0xDA};
  const auto first = std::search(bytes.begin(), bytes.end(), kStartOfScan.begin(), kStartOfScan.end());
  const auto second = std::search(first + 2, bytes.end(), kStartOfScan.begin(), kStartOfScan.end());
  const auto repeated = [&](int times) {
    std::vector<uint8_t> file(bytes.begin(), first);
    for (int i = 0; i < times; ++i) file.insert(file.end(), first, second);
    file.insert(file.end(), second, bytes.end());
    return file;
  };
  EXPECT_TRUE(TryDecode(repeated(50)).ok());
  ExpectRefused(TryDecode(repeated(150)), "more than 100 scans");
}

TEST(HostileImage, DamagedBytesNeverDoMoreThanChangeThePicture) {
  std::mt19937 random(4);
  int refused = 0;
  for (const GoldenFile& file : GoldenFiles()) {
    SCOPED_TRACE(file.name);
    const std::vector<uint8_t>& bytes = file.bytes;
    for (int round = 0; round < 150; ++round) {
      std::vector<uint8_t> damaged = bytes;
      const size_t reach = round % 2 == 0 ? damaged.size() : std::min<size_t>(damaged.size(), 64);
      for (int i = 0; i <= round % 4; ++i) damaged[random() % reach] = static_cast<uint8_t>(random());
      refused += TryDecode(damaged).ok() ? 0 : 1;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace vitower
