#include "model/shape_check.h"

#include <cmath>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/excerpt.h"

namespace vitower {
namespace {

// Far above any tower there is, and low enough that no product of sides can overflow and a list of all tensors stays
// small.
constexpr int64_t kMaxBlocks = 1 << 10;
constexpr int64_t kMaxSide = 1 << 16;
constexpr int64_t kMaxPositions = 1 << 20;

absl::Status Bad(const char* field, int64_t value, const std::string& expected) {
  return absl::FailedPreconditionError(absl::StrCat("vision_config.", field, " is ", value, ", expected ", expected));
}

absl::Status CheckRanges(const TowerConfig& tower) {
  const std::tuple<const char*, int64_t, int64_t> sizes[] = {
      {"depth", tower.depth, kMaxBlocks},
      {"hidden_size", tower.hidden_size, kMaxSide},
      {"num_heads", tower.num_heads, kMaxSide},
      {"intermediate_size", tower.intermediate_size, kMaxSide},
      {"out_hidden_size", tower.out_hidden_size, kMaxSide},
      {"num_position_embeddings", tower.num_position_embeddings, kMaxPositions}};
  for (const auto& [field, value, limit] : sizes) {
    if (value < 1 || value > limit) return Bad(field, value, absl::StrCat("1 to ", limit));
  }
  const std::tuple<const char*, int64_t, int64_t> fixed[] = {{"patch_size", tower.patch_size, 16},
                                                             {"temporal_patch_size", tower.temporal_patch_size, 2},
                                                             {"spatial_merge_size", tower.spatial_merge_size, 2},
                                                             {"in_channels", tower.in_channels, 3}};
  for (const auto& [field, value, expected] : fixed) {
    if (value != expected) return Bad(field, value, absl::StrCat(expected, ", the only one implemented"));
  }
  return absl::OkStatus();
}

absl::Status CheckDeepstack(const TowerConfig& tower) {
  int64_t last = -1;
  for (const int64_t index : tower.deepstack_visual_indexes) {
    if (index <= last || index >= tower.depth) {
      return absl::FailedPreconditionError(absl::StrCat(
          "vision_config.deepstack_visual_indexes is [", Excerpt(absl::StrJoin(tower.deepstack_visual_indexes, ", ")),
          "], expected ascending block indexes from 0 to ", tower.depth - 1, " (depth is ", tower.depth, ")"));
    }
    last = index;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTowerConfig(const TowerConfig& tower) {
  if (absl::Status status = CheckRanges(tower); !status.ok()) return status;
  if (tower.hidden_size % tower.num_heads != 0) {
    return Bad("num_heads", tower.num_heads, absl::StrCat("a divisor of hidden_size ", tower.hidden_size));
  }
  if (tower.head_dim() % 4 != 0) {
    return Bad("num_heads", tower.num_heads,
               absl::StrCat("heads of a multiple of 4 elements (hidden_size / num_heads is ", tower.head_dim(), ")"));
  }
  const auto side = std::llround(std::sqrt(static_cast<double>(tower.num_position_embeddings)));
  if (side * side != tower.num_position_embeddings) {
    return Bad("num_position_embeddings", tower.num_position_embeddings, "a square number");
  }
  return CheckDeepstack(tower);
}

}  // namespace vitower
