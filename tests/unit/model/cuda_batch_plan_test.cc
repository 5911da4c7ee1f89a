#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "model/cuda/batch_plan.h"
#include "model/cuda/row_buckets.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;

Frames Clip(int64_t frame_count, int64_t grid_h, int64_t grid_w) {
  Frames frames;
  frames.frame_count = frame_count;
  frames.grid = {(frame_count + 1) / 2, grid_h, grid_w};
  frames.height = grid_h * 16;
  frames.width = grid_w * 16;
  frames.rgb = std::vector<uint8_t>(static_cast<size_t>(frame_count * frames.height * frames.width * 3));
  return frames;
}

BatchPlan PlanOf(const std::vector<Frames>& items, const BatchRules& rules = {}) {
  std::vector<TowerInput> inputs;
  for (const Frames& item : items) inputs.emplace_back(&item);
  return PlanBatch(inputs, rules);
}

TEST(BatchPlan, PacksItemsOneAfterAnotherAndEachSliceIsASegment) {
  const BatchPlan plan = PlanOf({Clip(1, 14, 14), Clip(3, 4, 6)}, {.graphs = false});
  EXPECT_THAT(plan.patch_offsets, ElementsAre(0, 196, 244));
  EXPECT_THAT(plan.segment_offsets, ElementsAre(0, 196, 220, 244));
  EXPECT_EQ(plan.rows, 244);
  EXPECT_EQ(plan.longest_segment, 196);
  EXPECT_EQ(plan.items[1].first_row, 196);
  EXPECT_EQ(plan.items[1].frame_count, 3);
}

TEST(BatchPlan, BytesOfItemsBeginAtAlignedPlacesAndDoNotOverlap) {
  const BatchPlan plan = PlanOf({Clip(1, 2, 2), Clip(1, 6, 2), Clip(4, 2, 2)});
  for (size_t i = 0; i < plan.items.size(); ++i) EXPECT_EQ(plan.items[i].offset % kUploadAlignment, 0);
  EXPECT_GE(plan.items[1].offset, 32 * 32 * 3);
  EXPECT_GE(plan.items[2].offset, plan.items[1].offset + 96 * 32 * 3);
  EXPECT_GE(plan.upload_bytes, plan.items[2].offset + 4 * 32 * 32 * 3);
}

TEST(BatchPlan, PaddingUpToTheGraphsRowsAttendsToItselfAndIsNeverLongerThanTheItems) {
  const BatchPlan plan = PlanOf({Clip(1, 2, 2), Clip(1, 2, 4)});
  EXPECT_TRUE(plan.graph);
  EXPECT_EQ(plan.rows, kSmallestGraphRows);
  EXPECT_EQ(plan.patches(), 12);
  EXPECT_EQ(plan.segment_offsets.back(), plan.rows);
  EXPECT_EQ(plan.segment_offsets[2], 12);  // a segment ends where padding begins
  EXPECT_EQ(plan.longest_segment, 8);
}

TEST(BatchPlan, TilesCoverEveryRowOnceAndStayInsideTheirSegments) {
  for (const auto& [side, hopper] :
       {std::pair(2, false), {6, false}, {14, true}, {26, false}, {60, false}, {60, true}}) {
    const BatchPlan plan = PlanOf({Clip(1, side, side), Clip(4, 2, side)}, {.hopper = hopper});
    std::vector<int> covered(static_cast<size_t>(plan.rows));
    for (const AttentionTile& tile : plan.tiles) {
      ASSERT_GE(tile.first_row, tile.segment_first);
      ASSERT_LE(tile.first_row + tile.rows, tile.segment_first + tile.segment_length);
      ASSERT_LE(tile.rows, plan.tile_rows);
      for (int32_t row = 0; row < tile.rows; ++row) ++covered[static_cast<size_t>(tile.first_row + row)];
    }
    EXPECT_THAT(covered, ::testing::Each(1)) << side;
  }
}

TEST(BatchPlan, SmallBatchesHaveSmallTilesAndLargeOnesWhatTheDevicesKernelTakes) {
  EXPECT_EQ(PlanOf({Clip(1, 32, 64)}).tile_rows, kSmallTileRows);
  EXPECT_EQ(PlanOf({Clip(1, 32, 66)}).tile_rows, kTileRows);
  EXPECT_EQ(PlanOf({Clip(1, 32, 64)}, {.hopper = true}).tile_rows, kSmallTileRows);
  EXPECT_EQ(PlanOf({Clip(1, 32, 66)}, {.hopper = true}).tile_rows, kHopperTileRows);
}

TEST(BatchPlan, ShortSegmentsAreWholeTilesOnHopperUnlessAGraphServesThem) {
  const std::vector<Frames> many(64, Clip(1, 14, 14));
  const BatchPlan plan = PlanOf(many, {.hopper = true});
  EXPECT_EQ(plan.tile_rows, kShortTileRows);
  EXPECT_EQ(plan.tiles.size(), 64);
  EXPECT_EQ(PlanOf({many.begin(), many.begin() + 41}, {.hopper = true}).tile_rows, kHopperTileRows);  // 8,036 patches
  std::vector<Frames> mixed = many;
  mixed.push_back(Clip(1, 16, 18));
  EXPECT_EQ(PlanOf(mixed, {.hopper = true}).tile_rows, kHopperTileRows);
}

TEST(BatchPlan, WithAndWithoutGraphsTilesAreTheSame) {
  for (const auto& items : {std::vector<Frames>{Clip(1, 14, 14)},
                            {Clip(1, 44, 46)},
                            {Clip(1, 60, 60), Clip(2, 14, 14)},
                            std::vector<Frames>(20, Clip(1, 14, 14)),
                            std::vector<Frames>(42, Clip(1, 14, 14))}) {
    const BatchPlan plan = PlanOf(items, {.graphs = true, .hopper = true});
    EXPECT_EQ(plan.tile_rows, PlanOf(items, {.graphs = false, .hopper = true}).tile_rows) << plan.patches();
  }
}

TEST(BatchPlan, LongestSegmentsComeFirst) {
  const BatchPlan plan = PlanOf({Clip(1, 2, 2), Clip(1, 14, 14), Clip(1, 4, 4)});
  EXPECT_TRUE(std::is_sorted(plan.tiles.begin(), plan.tiles.end(),
                             [](const auto& a, const auto& b) { return a.segment_length > b.segment_length; }));
}

TEST(BatchPlan, GraphsServeUpToTheirLargestRowsAndOnlyOurOwnAttention) {
  EXPECT_TRUE(PlanOf({Clip(1, 64, 128)}).graph);
  EXPECT_FALSE(PlanOf({Clip(1, 64, 128), Clip(1, 2, 2)}).graph);
  EXPECT_FALSE(PlanOf({Clip(1, 2, 2)}, {.attention = AttentionKind::kFlash}).graph);
  EXPECT_FALSE(PlanOf({Clip(1, 2, 2)}, {.graphs = false}).graph);
}

TEST(BatchPlan, WithoutAGraphThereIsNoPadding) {
  const BatchPlan plan = PlanOf({Clip(1, 64, 130)});
  EXPECT_EQ(plan.rows, plan.patches());
  EXPECT_EQ(plan.segment_offsets.back(), plan.patches());
}

TEST(BatchPlan, PatchRowsKeepTheirType) {
  PatchRows patches;
  patches.grid = {1, 2, 2};
  patches.dtype = DType::kFp16;
  patches.values = std::vector<uint8_t>(4 * 1536 * 2);
  const TowerInput input = &patches;
  const BatchPlan plan = PlanBatch({&input, 1}, {});
  EXPECT_EQ(plan.items[0].kind, ItemKind::kRowsFp16);
  EXPECT_EQ(plan.upload_bytes, 4 * 1536 * 2);
}

TEST(BatchMeta, ReadsBackAsWritten) {
  const BatchPlan plan = PlanOf({Clip(1, 14, 14), Clip(3, 4, 6)});
  const MetaLayout layout = LayoutOf(plan);
  std::vector<std::byte> block(layout.bytes);
  WriteMeta(plan, layout, block.data());
  int32_t tiles = 0;
  std::memcpy(&tiles, block.data(), sizeof(tiles));
  EXPECT_EQ(tiles, static_cast<int32_t>(plan.tiles.size()));
  ItemPlace item{};
  std::memcpy(&item, block.data() + layout.items + sizeof(ItemPlace), sizeof(item));
  EXPECT_EQ(item.first_row, 196);
  int32_t last = 0;
  std::memcpy(&last, block.data() + layout.segments + (plan.segment_offsets.size() - 1) * 4, sizeof(last));
  EXPECT_EQ(last, plan.rows);
}

TEST(BatchMeta, TilesLieAtTheSamePlaceForEveryBatch) {
  EXPECT_EQ(LayoutOf(PlanOf({Clip(1, 2, 2)})).tiles, LayoutOf(PlanOf({Clip(8, 14, 14)})).tiles);
}

TEST(BatchMeta, NoBatchOfSoManyRowsTakesMoreThanTheLargest) {
  const std::vector<Frames> smallest(kLargestGraphRows / 4, Clip(1, 2, 2));
  EXPECT_LE(LayoutOf(PlanOf(smallest)).bytes, LargestMetaBytes(kLargestGraphRows, 4));
  EXPECT_LE(LayoutOf(PlanOf({Clip(1, 64, 128)})).bytes, LargestMetaBytes(kLargestGraphRows, 4));
  EXPECT_LE(LayoutOf(PlanOf({Clip(1, 2, 2)})).bytes, LargestMetaBytes(kSmallestGraphRows, 4));
}

}  // namespace
}  // namespace vitower
