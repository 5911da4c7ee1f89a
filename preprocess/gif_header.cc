#include <algorithm>

#include "preprocess/gif_blocks.h"
#include "preprocess/headers.h"

namespace vitower {

absl::StatusOr<ImageHeader> ReadGifHeader(ByteView file) {
  if (!file.Has(0, kGifScreenBytes)) return TruncatedHeader(ImageFormat::kGif, file);
  size_t offset = kGifScreenBytes + ColorTableBytes(file.U8(10));
  while (file.U8(offset) == kGifExtension) offset = SkipExtension(file, offset);
  if (!file.Has(offset, kGifFrameBytes)) return TruncatedHeader(ImageFormat::kGif, file);
  if (file.U8(offset) != kGifFrame) return InvalidImage(ImageFormat::kGif, "has no frame");
  const auto read = [&](size_t at) { return int64_t{file.U16(at, Endian::kLittle)}; };
  const ImageSize frame = {.height = read(offset + 7), .width = read(offset + 5)};
  if (frame.height == 0 || frame.width == 0) return InvalidImage(ImageFormat::kGif, "has an empty first frame");
  // A frame that reaches beyond the screen enlarges it, as in the reference.
  const ImageSize size = {.height = std::max(read(8), read(offset + 3) + frame.height),
                          .width = std::max(read(6), read(offset + 1) + frame.width)};
  return ImageHeader{.format = ImageFormat::kGif, .size = size};
}

}  // namespace vitower
