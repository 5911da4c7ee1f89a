#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "model/bf16.h"
#include "model/encoder.h"
#include "preprocess/frames.h"

namespace vitower {

// The normalised value of each of a channel's 256 levels, in the tower's dtype.
template <typename T>
struct PixelTable {
  T values[3][256];
};

// Normalises as the reference's fused step does: (float32(u8) - mean * 255) / (std * 255), in float32, rounded once.
PixelTable<float> MakePixelTable(const ImageProcessorConfig& processor, float /*element type*/);
PixelTable<Bf16> MakePixelTable(const ImageProcessorConfig& processor, Bf16 /*element type*/);

// INVALID_ARGUMENT, with field, value and expectation, for an item that the tower cannot take. Values are not looked
// at.
absl::Status CheckItem(const Frames& frames, const TowerConfig& tower);
absl::Status CheckItem(const PatchRows& patches, const TowerConfig& tower);

// Writes rows [begin, end) of the frames' patches to `rows`, patch_dim wide each: merge-block order, slices outermost,
// (channel, time, y, x) inside a row; the last frame is repeated to fill its slice. REQUIRES: CheckItem is OK.
void FillPatchRows(const Frames& frames, const TowerConfig& tower, const PixelTable<float>& table, int64_t begin,
                   int64_t end, float* rows);
void FillPatchRows(const Frames& frames, const TowerConfig& tower, const PixelTable<Bf16>& table, int64_t begin,
                   int64_t end, Bf16* rows);

}  // namespace vitower
