#include "preprocess/exif.h"
#include "preprocess/headers.h"

namespace vitower {
namespace {

constexpr size_t kFirstChunk = 12;
constexpr size_t kChunkHeaderBytes = 8;
constexpr uint32_t kAnimationFlag = 0x02;
constexpr uint32_t kXmpFlag = 0x04;
constexpr uint32_t kExifFlag = 0x08;

absl::StatusOr<ImageHeader> ReadLossy(ByteView file) {
  constexpr uint32_t kStartCode = 0x2A019D;
  constexpr uint32_t kSizeMask = 0x3FFF;
  if (!file.Has(0, 30)) return TruncatedHeader(ImageFormat::kWebp, file);
  if (file.Little24(23) != kStartCode) return InvalidImage(ImageFormat::kWebp, "has no VP8 key frame");
  const ImageSize size = {.height = file.U16(28, Endian::kLittle) & kSizeMask,
                          .width = file.U16(26, Endian::kLittle) & kSizeMask};
  return ImageHeader{.format = ImageFormat::kWebp, .size = size};
}

absl::StatusOr<ImageHeader> ReadLossless(ByteView file) {
  constexpr uint32_t kSignature = 0x2F;
  constexpr uint32_t kSizeMask = 0x3FFF;
  if (!file.Has(0, 25)) return TruncatedHeader(ImageFormat::kWebp, file);
  if (file.U8(20) != kSignature) return InvalidImage(ImageFormat::kWebp, "has no VP8L signature");
  const uint32_t bits = file.U32(21, Endian::kLittle);
  const ImageSize size = {.height = (bits >> 14 & kSizeMask) + 1, .width = (bits & kSizeMask) + 1};
  return ImageHeader{.format = ImageFormat::kWebp, .size = size};
}

OrientationSources FindMetadata(ByteView file, uint32_t flags) {
  OrientationSources sources;
  for (size_t offset = kFirstChunk; file.Has(offset, kChunkHeaderBytes);) {
    const size_t length = file.U32(offset + 4, Endian::kLittle);
    const ByteView chunk = file.From(offset);
    const ByteView data = file.Part(offset + kChunkHeaderBytes, length);
    if (data.size() < length) break;
    if ((flags & kExifFlag) != 0 && chunk.StartsWith("EXIF") && !sources.exif) sources.exif = data;
    if ((flags & kXmpFlag) != 0 && chunk.StartsWith("XMP ") && !sources.xmp) sources.xmp = data;
    offset += kChunkHeaderBytes + length + length % 2;
  }
  return sources;
}

absl::StatusOr<ImageHeader> ReadExtended(ByteView file) {
  if (!file.Has(0, 30)) return TruncatedHeader(ImageFormat::kWebp, file);
  const uint32_t flags = file.U8(20);
  if ((flags & kAnimationFlag) != 0) return InvalidImage(ImageFormat::kWebp, "is animated, only stills are supported");
  const ImageSize size = {.height = int64_t{file.Little24(27)} + 1, .width = int64_t{file.Little24(24)} + 1};
  return ImageHeader{
      .format = ImageFormat::kWebp, .size = size, .exif_orientation = Orientation(FindMetadata(file, flags))};
}

}  // namespace

bool WebpIsWhole(ByteView file) { return file.Has(8, file.U32(4, Endian::kLittle)); }

absl::StatusOr<ImageHeader> ReadWebpHeader(ByteView file) {
  const ByteView chunk = file.From(kFirstChunk);
  if (chunk.StartsWith("VP8 ")) return ReadLossy(file);
  if (chunk.StartsWith("VP8L")) return ReadLossless(file);
  if (chunk.StartsWith("VP8X")) return ReadExtended(file);
  if (chunk.size() < 4) return TruncatedHeader(ImageFormat::kWebp, file);
  return InvalidImage(ImageFormat::kWebp, "begins with none of the chunks VP8, VP8L and VP8X");
}

}  // namespace vitower
