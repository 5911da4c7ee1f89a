#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/cuda/batch_layout.h"
#include "model/cuda/batch_rules.h"
#include "model/encoder.h"

namespace vitower {

// A packed batch before any of it is computed: where each item's bytes and rows lie, what attends to what.
struct BatchPlan {
  std::vector<ItemPlace> items;
  std::vector<int64_t> patch_offsets{0};  // [items + 1]
  std::vector<int32_t> segment_offsets{0};
  std::vector<AttentionTile> tiles;  // longest segments first
  int64_t upload_bytes = 0;          // of all items, each at a multiple of kUploadAlignment
  int64_t longest_segment = 0;
  int64_t rows = 0;       // patches, and padding up to a graph's bucket
  int32_t tile_rows = 0;  // the most queries of a tile
  bool graph = false;
  AttentionKind attention = AttentionKind::kTiles;

  int64_t patches() const { return patch_offsets.back(); }
};

inline constexpr int64_t kUploadAlignment = 256;

// The most queries of a tile, in a batch of so many rows whose longest segment is `longest`. Few rows make few tiles:
// smaller ones give every multiprocessor something to do. On Hopper a tile of kShortTileRows holds a whole short
// segment. For rows that a graph serves `longest` does not matter.
int32_t TileRowsFor(int64_t rows, int64_t longest, const BatchRules& rules);

// REQUIRES: items are not empty and fit the tower.
BatchPlan PlanBatch(absl::Span<const TowerInput> items, const BatchRules& rules);

// The bytes of one item, as they are uploaded.
absl::Span<const uint8_t> BytesOf(const TowerInput& item);

// The part of a plan that the device reads, in one block: the number of tiles, the tiles, the items, the offsets of the
// segments. The first two lie at the same place whatever the batch: a graph reads them.
struct MetaLayout {
  size_t tiles;
  size_t items;
  size_t segments;
  size_t bytes;
};
MetaLayout LayoutOf(const BatchPlan& plan);
void WriteMeta(const BatchPlan& plan, const MetaLayout& layout, std::byte* block);

// The most that LayoutOf can ask for, for any batch of `rows` patches.
size_t LargestMetaBytes(int64_t rows, int64_t merge_unit);

}  // namespace vitower
