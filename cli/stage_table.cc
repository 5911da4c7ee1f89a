#include "cli/stage_table.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace vitower {

void AddStageSeconds(const StageSeconds& one, StageSeconds& sums) {
  for (const auto& [stage, seconds] : one) {
    const auto sum = std::find_if(sums.begin(), sums.end(), [&name = stage](const auto& s) { return s.first == name; });
    if (sum == sums.end()) {
      sums.emplace_back(stage, seconds);
    } else {
      sum->second += seconds;
    }
  }
}

void StageTable::Add(const StageSeconds& stage_seconds) {
  ++images_;
  AddStageSeconds(stage_seconds, sums_);
}

std::string StageTable::Text() const {
  if (images_ == 0) return "";
  double total = 0;
  for (const auto& [stage, sum] : sums_) total += sum;
  std::string text = absl::StrFormat("%-12s %12s %8s\n", "stage", "ms/image", "share");
  const auto line = [&](const std::string& stage, double sum) {
    const double share = total > 0 ? sum / total * 100 : 0;
    text += absl::StrFormat("%-12s %12.3f %7.1f%%\n", stage, sum * 1e3 / static_cast<double>(images_), share);
  };
  for (const auto& [stage, sum] : sums_) line(stage, sum);
  line("total", total);
  return text;
}

}  // namespace vitower
