#include "model/cuda/pieces.h"

namespace vitower {

std::vector<Piece> PiecesOf(const TowerConfig& tower) {
  std::vector<Piece> pieces;
  int64_t next_block = 0;
  const auto add = [&](int64_t last_block, int64_t output) {
    if (last_block > next_block) pieces.push_back({Piece::Kind::kBlocks, next_block, last_block, 0});
    pieces.push_back({Piece::Kind::kMerger, 0, 0, output});
    next_block = last_block;
  };
  int64_t output = 1;
  for (const int64_t index : tower.deepstack_visual_indexes) add(index + 1, output++);
  add(tower.depth, 0);
  return pieces;
}

std::vector<size_t> PiecesFor(const std::vector<Piece>& pieces, const OutputSet& wanted) {
  const auto takes = [&](const Piece& piece) {
    if (piece.kind == Piece::Kind::kBlocks) return true;
    return piece.output == 0 ? wanted.tokens : static_cast<bool>(wanted.deepstack[piece.output - 1]);
  };
  std::vector<size_t> chosen;
  size_t used = 0;  // up to the last merger
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!takes(pieces[i])) continue;
    chosen.push_back(i);
    if (pieces[i].kind == Piece::Kind::kMerger) used = chosen.size();
  }
  chosen.resize(used);
  return chosen;
}

}  // namespace vitower
