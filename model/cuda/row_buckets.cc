#include "model/cuda/row_buckets.h"

#include <algorithm>
#include <bit>

namespace vitower {
namespace {

constexpr int64_t kStepsPerOctave = 4;
constexpr int64_t kSmallestStep = 16;
constexpr int64_t kFineRows = 2048;
constexpr int64_t kTile = 128;

}  // namespace

int64_t RowBucket(int64_t rows) {
  const auto octave = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(rows)));
  const int64_t step = std::max(kSmallestStep, octave / kStepsPerOctave);
  return (rows + step - 1) / step * step;
}

std::vector<int64_t> RowBuckets(int64_t smallest, int64_t largest) {
  std::vector<int64_t> buckets;
  for (int64_t rows = smallest; rows <= largest; rows = RowBucket(rows + 1)) buckets.push_back(rows);
  return buckets;
}

int64_t GemmRows(int64_t rows) { return rows <= kFineRows ? RowBucket(rows) : (rows + kTile - 1) / kTile * kTile; }

std::vector<int64_t> AllGemmRows(int64_t largest) {
  std::vector<int64_t> all;
  for (int64_t rows = kSmallestStep; rows <= largest; rows = GemmRows(rows + 1)) all.push_back(rows);
  return all;
}

}  // namespace vitower
