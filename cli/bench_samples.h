#pragma once

#include <cstdint>
#include <vector>

namespace vitower {

// Seconds, each one kept (8 bytes), so that percentiles are exact. Not thread-safe.
class Samples final {
 public:
  void Add(double seconds);

  int64_t count() const { return static_cast<int64_t>(seconds_.size()); }
  double Mean() const;  // 0 without samples, as below
  double Max() const;
  // The smallest sample that at least `percent` of all do not exceed (nearest rank).
  double Percentile(double percent);

 private:
  std::vector<double> seconds_;
  bool sorted_ = true;
};

}  // namespace vitower
