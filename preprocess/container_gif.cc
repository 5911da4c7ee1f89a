#include "preprocess/container.h"
#include "preprocess/gif_blocks.h"

namespace vitower {

// Up to the trailer: without it nobody knows how many frames are missing.
absl::Status CheckGif(ByteView file) {
  size_t offset = kGifScreenBytes + ColorTableBytes(file.U8(10));
  while (file.Has(offset, 1)) {
    const uint32_t block = file.U8(offset);
    if (block == kGifTrailer) return absl::OkStatus();
    if (block == kGifExtension) {
      offset = SkipExtension(file, offset);
    } else if (block == kGifFrame) {
      constexpr size_t kCodeSize = 1;
      offset = SkipDataBlocks(file, offset + kGifFrameBytes + ColorTableBytes(file.U8(offset + 9)) + kCodeSize);
    } else {
      return absl::InvalidArgumentError("gif video is damaged between two frames");
    }
  }
  return absl::InvalidArgumentError("gif video is truncated: it has no trailer");
}

}  // namespace vitower
