#include <algorithm>

#include "preprocess/headers.h"

namespace vitower {
namespace {

constexpr size_t kScreenBytes = 13;
constexpr uint32_t kExtension = 0x21;
constexpr uint32_t kFrame = 0x2C;

size_t ColorTableBytes(uint32_t flags) { return (flags & 0x80) != 0 ? size_t{3} << ((flags & 7) + 1) : 0; }

// Past an extension's data blocks, or past the end of the file.
size_t SkipExtension(ByteView file, size_t offset) {
  offset += 2;
  while (const uint32_t block = file.U8(offset)) offset += 1 + block;
  return offset + 1;
}

}  // namespace

absl::StatusOr<ImageHeader> ReadGifHeader(ByteView file) {
  constexpr size_t kFrameBytes = 10;
  if (!file.Has(0, kScreenBytes)) return TruncatedHeader(ImageFormat::kGif, file);
  size_t offset = kScreenBytes + ColorTableBytes(file.U8(10));
  while (file.U8(offset) == kExtension) offset = SkipExtension(file, offset);
  if (!file.Has(offset, kFrameBytes)) return TruncatedHeader(ImageFormat::kGif, file);
  if (file.U8(offset) != kFrame) return InvalidImage(ImageFormat::kGif, "has no frame");
  const auto read = [&](size_t at) { return int64_t{file.U16(at, Endian::kLittle)}; };
  const ImageSize frame = {.height = read(offset + 7), .width = read(offset + 5)};
  if (frame.height == 0 || frame.width == 0) return InvalidImage(ImageFormat::kGif, "has an empty first frame");
  // A frame that reaches beyond the screen enlarges it, as in the reference.
  const ImageSize size = {.height = std::max(read(8), read(offset + 3) + frame.height),
                          .width = std::max(read(6), read(offset + 1) + frame.width)};
  return ImageHeader{.format = ImageFormat::kGif, .size = size};
}

}  // namespace vitower
