#include "model/cuda/batch_plan.h"

#include <algorithm>
#include <cstring>

#include "model/cuda/row_buckets.h"

namespace vitower {
namespace {

constexpr size_t kMetaAlignment = 256;
constexpr int64_t kWarpQueries = 16;
constexpr int64_t kFewRows = 2048;

size_t AlignUp(size_t value, size_t alignment) { return (value + alignment - 1) / alignment * alignment; }

ItemKind KindOf(DType dtype) {
  return dtype == DType::kBf16   ? ItemKind::kRowsBf16
         : dtype == DType::kFp16 ? ItemKind::kRowsFp16
                                 : ItemKind::kRowsFp32;
}

ItemPlace PlaceOf(const TowerInput& input) {
  const GridThw& grid = GridOf(input);
  ItemPlace place{};
  place.grid_h = static_cast<int32_t>(grid.h);
  place.grid_w = static_cast<int32_t>(grid.w);
  if (const auto* frames = std::get_if<const Frames*>(&input)) {
    place.kind = ItemKind::kFrames;
    place.frame_count = static_cast<int32_t>((*frames)->frame_count);
  } else {
    place.kind = KindOf(std::get<const PatchRows*>(input)->dtype);
  }
  return place;
}

// Tiles of one segment are equally long but for the last, in multiples of what a warp takes. The larger ones of Hopper
// are as long as they may be, since their warpgroups of 64 queries share what a shorter one leaves.
void AddSegment(BatchPlan& plan, int64_t length) {
  const int32_t first = plan.segment_offsets.back();
  const int64_t tiles = (length + plan.tile_rows - 1) / plan.tile_rows;
  const int64_t even = ((length + tiles - 1) / tiles + kWarpQueries - 1) / kWarpQueries * kWarpQueries;
  const int64_t rows = plan.tile_rows > kTileRows ? plan.tile_rows : even;
  for (int64_t row = 0; row < length; row += rows) {
    plan.tiles.push_back({first + static_cast<int32_t>(row), first, static_cast<int32_t>(length),
                          static_cast<int32_t>(std::min(rows, length - row))});
  }
  plan.segment_offsets.push_back(first + static_cast<int32_t>(length));
}

void AddItem(BatchPlan& plan, const TowerInput& input) {
  const GridThw& grid = GridOf(input);
  ItemPlace place = PlaceOf(input);
  place.offset = plan.upload_bytes;
  place.first_row = static_cast<int32_t>(plan.patches());
  plan.items.push_back(place);
  for (int64_t slice = 0; slice < grid.t; ++slice) AddSegment(plan, grid.h * grid.w);
  plan.patch_offsets.push_back(plan.patches() + grid.patches());
  const auto bytes = static_cast<int64_t>(BytesOf(input).size());
  plan.upload_bytes += (bytes + kUploadAlignment - 1) / kUploadAlignment * kUploadAlignment;
}

// Padding takes part as segments of its own, none longer than the items' longest.
void AddPadding(BatchPlan& plan) {
  const int64_t longest = plan.longest_segment;
  for (int64_t left = plan.rows - plan.patches(); left > 0; left -= longest) AddSegment(plan, std::min(left, longest));
}

}  // namespace

absl::Span<const uint8_t> BytesOf(const TowerInput& item) {
  const OwnedBytes& bytes = std::holds_alternative<const Frames*>(item) ? std::get<const Frames*>(item)->rgb
                                                                        : std::get<const PatchRows*>(item)->values;
  return {bytes.data(), bytes.size()};
}

int32_t TileRowsFor(int64_t rows, int64_t longest, const BatchRules& rules) {
  if (rows <= kFewRows) return kSmallTileRows;
  if (!rules.hopper) return kTileRows;
  return rows > kLargestGraphRows && longest <= kShortTileRows ? kShortTileRows : kHopperTileRows;
}

BatchPlan PlanBatch(absl::Span<const TowerInput> items, const BatchRules& rules) {
  BatchPlan plan;
  int64_t patches = 0;
  for (const TowerInput& item : items) {
    const GridThw& grid = GridOf(item);
    patches += grid.patches();
    plan.longest_segment = std::max(plan.longest_segment, grid.h * grid.w);
  }
  plan.attention = rules.attention;
  plan.graph = rules.graphs && plan.attention == AttentionKind::kTiles && patches <= kLargestGraphRows;
  plan.rows = plan.graph ? std::max(kSmallestGraphRows, RowBucket(patches)) : patches;
  plan.tile_rows = TileRowsFor(plan.rows, plan.longest_segment, rules);
  for (const TowerInput& item : items) AddItem(plan, item);
  AddPadding(plan);
  std::stable_sort(plan.tiles.begin(), plan.tiles.end(),
                   [](const AttentionTile& a, const AttentionTile& b) { return a.segment_length > b.segment_length; });
  return plan;
}

MetaLayout LayoutOf(const BatchPlan& plan) {
  MetaLayout layout{};
  layout.tiles = kMetaAlignment;
  layout.items = AlignUp(layout.tiles + plan.tiles.size() * sizeof(AttentionTile), kMetaAlignment);
  layout.segments = AlignUp(layout.items + plan.items.size() * sizeof(ItemPlace), kMetaAlignment);
  layout.bytes = AlignUp(layout.segments + plan.segment_offsets.size() * sizeof(int32_t), kMetaAlignment);
  return layout;
}

void WriteMeta(const BatchPlan& plan, const MetaLayout& layout, std::byte* block) {
  const auto count = static_cast<int32_t>(plan.tiles.size());
  std::memcpy(block, &count, sizeof(count));
  std::memcpy(block + layout.tiles, plan.tiles.data(), plan.tiles.size() * sizeof(AttentionTile));
  std::memcpy(block + layout.items, plan.items.data(), plan.items.size() * sizeof(ItemPlace));
  std::memcpy(block + layout.segments, plan.segment_offsets.data(), plan.segment_offsets.size() * sizeof(int32_t));
}

size_t LargestMetaBytes(int64_t rows, int64_t merge_unit) {
  const auto segments = static_cast<size_t>(rows / merge_unit + 1);  // no slice is smaller than one token
  const size_t tiles = segments + static_cast<size_t>(rows / kSmallTileRows + 1);
  return tiles * sizeof(AttentionTile) + segments * (sizeof(ItemPlace) + sizeof(int32_t)) + 5 * kMetaAlignment;
}

}  // namespace vitower
