#pragma once

#include <cstddef>
#include <cstdint>

#include "preprocess/byte_view.h"

namespace vitower {

// A GIF is a screen, then blocks that begin with one of these bytes.
inline constexpr size_t kGifScreenBytes = 13;
inline constexpr size_t kGifFrameBytes = 10;
inline constexpr uint32_t kGifExtension = 0x21;
inline constexpr uint32_t kGifFrame = 0x2C;
inline constexpr uint32_t kGifTrailer = 0x3B;

// Of the color table that follows a screen or a frame with these flags.
inline size_t ColorTableBytes(uint32_t flags) { return (flags & 0x80) != 0 ? size_t{3} << ((flags & 7) + 1) : 0; }

// Past data blocks, or past the end of the file.
inline size_t SkipDataBlocks(ByteView file, size_t offset) {
  while (const uint32_t block = file.U8(offset)) offset += 1 + block;
  return offset + 1;
}

// Past an extension.
inline size_t SkipExtension(ByteView file, size_t offset) { return SkipDataBlocks(file, offset + 2); }

}  // namespace vitower
