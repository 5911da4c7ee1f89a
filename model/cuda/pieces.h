#pragma once

#include <cstdint>
#include <vector>

#include "model/encoder.h"

namespace vitower {

// The tower behind the position rows, cut where an output may be taken: runs of blocks and mergers, in order. Each
// piece is a CUDA graph of its own, so that what is not wanted costs nothing and each can be timed.
struct Piece {
  enum class Kind : uint8_t { kBlocks, kMerger };
  Kind kind;
  int64_t first_block;  // kBlocks: [first_block, last_block)
  int64_t last_block;
  int64_t output;  // kMerger: 0 for the tokens, i + 1 for DeepStack level i
};

std::vector<Piece> PiecesOf(const TowerConfig& tower);

// Which pieces a set of outputs takes, in order, as indexes of PiecesOf: nothing behind the last output.
std::vector<size_t> PiecesFor(const std::vector<Piece>& pieces, const OutputSet& wanted);

}  // namespace vitower
