#pragma once

#include <cstdint>

namespace vitower {

// What the kernels read of a batch: plain structs that the host fills and copies to the device as they are.

enum class ItemKind : int32_t { kFrames, kRowsBf16, kRowsFp16, kRowsFp32 };

// One item of a packed batch.
struct ItemPlace {
  int64_t offset;     // of its bytes in the uploaded block
  int32_t first_row;  // of its patches in the packed rows
  ItemKind kind;
  int32_t frame_count;
  int32_t grid_h;
  int32_t grid_w;
  int32_t unused;
};

// The most queries of a tile, for each kernel: of every device, and Hopper's two sizes beside that of small batches.
inline constexpr int32_t kSmallTileRows = 64;
inline constexpr int32_t kTileRows = 128;
inline constexpr int32_t kHopperTileRows = 192;
inline constexpr int32_t kShortTileRows = 256;

// A run of queries of one segment. Segments (one item's slice, or padding) attend only to themselves.
struct AttentionTile {
  int32_t first_row;
  int32_t segment_first;
  int32_t segment_length;
  int32_t rows;
};

}  // namespace vitower
