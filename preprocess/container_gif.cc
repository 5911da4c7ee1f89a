#include "preprocess/container.h"

namespace vitower {
namespace {

size_t ColorTableBytes(uint32_t flags) { return (flags & 0x80) != 0 ? size_t{3} << ((flags & 7) + 1) : 0; }

// Past data blocks, or past the end of the file.
size_t SkipBlocks(ByteView file, size_t offset) {
  while (const uint32_t block = file.U8(offset)) offset += 1 + block;
  return offset + 1;
}

}  // namespace

// Up to the trailer: without it nobody knows how many frames are missing.
absl::Status CheckGif(ByteView file) {
  constexpr size_t kScreenBytes = 13;
  constexpr size_t kFrameBytes = 10;
  constexpr uint32_t kExtension = 0x21;
  constexpr uint32_t kFrame = 0x2C;
  constexpr uint32_t kTrailer = 0x3B;
  size_t offset = kScreenBytes + ColorTableBytes(file.U8(10));
  while (file.Has(offset, 1)) {
    const uint32_t block = file.U8(offset);
    if (block == kTrailer) return absl::OkStatus();
    if (block == kExtension) {
      offset = SkipBlocks(file, offset + 2);
    } else if (block == kFrame) {
      constexpr size_t kCodeSize = 1;
      offset = SkipBlocks(file, offset + kFrameBytes + ColorTableBytes(file.U8(offset + 9)) + kCodeSize);
    } else {
      return absl::InvalidArgumentError("gif video is damaged between two frames");
    }
  }
  return absl::InvalidArgumentError("gif video is truncated: it has no trailer");
}

}  // namespace vitower
