#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "preprocess/byte_view.h"

namespace vitower {

// A part of an MP4 file: a length, four letters, and what they stand for.
struct Mp4Box {
  std::string_view type;
  size_t body = 0;   // offset of what follows the header
  uint64_t end = 0;  // may lie beyond the file
};

// The box at `offset`, up to `limit` where its size is 0. Unset where there is no header, or one that makes no sense.
std::optional<Mp4Box> ReadMp4Box(ByteView file, size_t offset, size_t limit);

}  // namespace vitower
