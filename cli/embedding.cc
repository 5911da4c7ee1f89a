#include "cli/embedding.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace vitower {

absl::StatusOr<std::vector<uint32_t>> WantedLevels(const WantedOutputs& wanted, const ModelIdentity& model) {
  std::vector<uint32_t> levels = wanted.deepstack_levels;
  if (wanted.all_deepstack) {
    levels.clear();
    for (uint32_t level = 0; level < model.deepstack_levels; ++level) levels.push_back(level);
  }
  if (!levels.empty() && levels.back() >= model.deepstack_levels) {
    return absl::InvalidArgumentError(absl::StrCat("--outputs: deepstack_", levels.back(), " is not an output of ",
                                                   model.name, ", which has ", model.deepstack_levels,
                                                   " DeepStack levels"));
  }
  if (levels.empty() && !wanted.tokens && !wanted.pooled && !wanted.pooled_slices) {
    return absl::InvalidArgumentError(
        absl::StrCat("--outputs: nothing is left, ", model.name, " has no DeepStack levels"));
  }
  return levels;
}

std::vector<std::string> TensorNames(const WantedOutputs& wanted, const std::vector<uint32_t>& levels) {
  std::vector<std::string> names;
  if (wanted.tokens) names.push_back("tokens");
  for (uint32_t level : levels) names.push_back(absl::StrCat("deepstack_", level));
  if (wanted.pooled) names.push_back("pooled");
  if (wanted.pooled_slices) names.push_back("pooled_slices");
  names.push_back("grid_thw");
  return names;
}

std::map<std::string, std::string> ClipMetadata(const std::optional<ClipSummary>& clip) {
  if (!clip) return {};
  const auto exact = [](std::string* text, double value) { absl::StrAppendFormat(text, "%.17g", value); };
  std::map<std::string, std::string> metadata = {
      {"frame_indices", absl::StrCat("[", absl::StrJoin(clip->frame_indices, ", "), "]")},
      {"padded", clip->padded ? "true" : "false"}};
  if (!clip->source_fps) return metadata;
  exact(&metadata["source_fps"], *clip->source_fps);
  metadata["slice_timestamps"] = absl::StrCat("[", absl::StrJoin(clip->slice_timestamps, ", ", exact), "]");
  return metadata;
}

NamedTensor GridTensor(const std::string& name, const GridThw& grid, const std::vector<int64_t>& shape) {
  const int64_t values[] = {grid.t, grid.h, grid.w};
  return {name, "I64", shape, std::string(reinterpret_cast<const char*>(values), sizeof(values))};
}

}  // namespace vitower
