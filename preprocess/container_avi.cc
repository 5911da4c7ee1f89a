#include <cstddef>

#include "preprocess/container.h"

namespace vitower {

// RIFF chunks one behind another: the first of the clip and those that OpenDML adds to a large one.
absl::Status CheckAvi(ByteView file) {
  constexpr size_t kHeader = 12;  // "RIFF", size, form
  constexpr size_t kForm = 4;
  size_t offset = 0;
  while (file.Has(offset, kHeader) && file.From(offset).StartsWith("RIFF")) {
    const size_t size = file.U32(offset + 4, Endian::kLittle);
    if (size < kForm) {
      return absl::InvalidArgumentError("avi video was never finished: its RIFF header has no size");
    }
    const size_t end = offset + 8 + size;
    if (end > file.size()) return CutShort(Container::kAvi, "a RIFF chunk", end, file);
    offset = end + size % 2;
  }
  return absl::OkStatus();
}

}  // namespace vitower
