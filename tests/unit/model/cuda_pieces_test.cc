#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "model/cuda/pieces.h"
#include "model/load.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TowerConfig Tower(int64_t depth, std::vector<int64_t> levels) {
  TowerConfig tower;
  tower.depth = depth;
  tower.deepstack_visual_indexes = std::move(levels);
  return tower;
}

TEST(Pieces, BlocksRunUpToEachLevelAndItsMergerFollows) {
  const auto pieces = PiecesOf(Tower(24, {5, 11, 17}));
  ASSERT_EQ(pieces.size(), 8U);
  EXPECT_EQ(pieces[0].first_block, 0);
  EXPECT_EQ(pieces[0].last_block, 6);
  EXPECT_EQ(pieces[1].output, 1);
  EXPECT_EQ(pieces[6].first_block, 18);
  EXPECT_EQ(pieces[6].last_block, 24);
  EXPECT_EQ(pieces[7].output, 0);
}

TEST(Pieces, EveryBlockRunsOnce) {
  for (const auto& levels : std::vector<std::vector<int64_t>>{{}, {0}, {3}, {0, 1, 2, 3}}) {
    int64_t next = 0;
    for (const Piece& piece : PiecesOf(Tower(4, levels))) {
      if (piece.kind != Piece::Kind::kBlocks) continue;
      EXPECT_EQ(piece.first_block, next);
      next = piece.last_block;
    }
    EXPECT_EQ(next, 4);
  }
}

TEST(Pieces, WhatIsNotWantedIsLeftOut) {
  const auto pieces = PiecesOf(Tower(24, {5, 11, 17}));
  EXPECT_THAT(PiecesFor(pieces, {true, {false, false, false}}), ElementsAre(0, 2, 4, 6, 7));
  EXPECT_THAT(PiecesFor(pieces, {true, {true, false, true}}), ElementsAre(0, 1, 2, 4, 5, 6, 7));
}

TEST(Pieces, NothingRunsBehindTheLastOutput) {
  const auto pieces = PiecesOf(Tower(24, {5, 11, 17}));
  EXPECT_THAT(PiecesFor(pieces, {false, {false, true, false}}), ElementsAre(0, 2, 3));
  EXPECT_THAT(PiecesFor(pieces, {false, {false, false, false}}), ElementsAre());
}

TEST(LoadEncoder, RefusesADeviceThatIsNone) {
  LoadOptions options;
  options.model = "random:tiny";
  for (const char* device : {"cuda", "cuda:", "cuda:x", "gpu:0"}) {
    options.device = device;
    EXPECT_THAT(std::string(LoadEncoder(options).status().message()), HasSubstr("expected \"cpu\" or \"cuda:N\""));
  }
}

// No GPU of that index is on any machine that runs the unit tests, whether or not the build has CUDA.
TEST(LoadEncoder, AGpuThatCannotBeUsedIsRefusedByName) {
  LoadOptions options;
  options.model = "random:tiny";
  options.device = "cuda:1000";
  const auto encoder = LoadEncoder(options);
  EXPECT_EQ(encoder.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(encoder.status().message()),
              ::testing::AnyOf(HasSubstr("cuda:1000"), HasSubstr("no CUDA device")));
}

}  // namespace
}  // namespace vitower
