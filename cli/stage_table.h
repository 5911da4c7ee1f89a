#pragma once

#include <string>
#include <utility>
#include <vector>

namespace vitower {

// Stage times of many images, summed; Text is a table of the mean of each stage and its share. Not thread-safe.
class StageTable final {
 public:
  void Add(const std::vector<std::pair<std::string, double>>& stage_seconds);
  std::string Text() const;  // empty when nothing was added

 private:
  std::vector<std::pair<std::string, double>> sums_;
  size_t images_ = 0;
};

}  // namespace vitower
