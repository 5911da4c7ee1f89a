#include "cli/bench_samples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vitower {

void Samples::Add(double seconds) {
  sorted_ = sorted_ && (seconds_.empty() || seconds_.back() <= seconds);
  seconds_.push_back(seconds);
}

double Samples::Mean() const {
  if (seconds_.empty()) return 0;
  return std::accumulate(seconds_.begin(), seconds_.end(), 0.0) / static_cast<double>(seconds_.size());
}

double Samples::Max() const { return seconds_.empty() ? 0 : *std::max_element(seconds_.begin(), seconds_.end()); }

double Samples::Percentile(double percent) {
  if (seconds_.empty()) return 0;
  if (!sorted_) std::sort(seconds_.begin(), seconds_.end());
  sorted_ = true;
  const auto count = static_cast<double>(seconds_.size());
  const double rank = std::ceil(percent / 100 * count - 1e-9);  // 99.9 / 100 * 1000 is 999.0000000000001
  return seconds_[static_cast<size_t>(std::clamp(rank, 1.0, count)) - 1];
}

}  // namespace vitower
