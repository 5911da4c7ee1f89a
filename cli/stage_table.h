#pragma once

#include <string>
#include <utility>
#include <vector>

namespace vitower {

using StageSeconds = std::vector<std::pair<std::string, double>>;

// Adds each stage of `one` to `sums`, where it keeps the place in which it came first.
void AddStageSeconds(const StageSeconds& one, StageSeconds& sums);

// Stage times of many images, summed; Text is a table of the mean of each stage and its share. Not thread-safe.
class StageTable final {
 public:
  void Add(const StageSeconds& stage_seconds);
  std::string Text() const;  // empty when nothing was added

 private:
  StageSeconds sums_;
  size_t images_ = 0;
};

}  // namespace vitower
