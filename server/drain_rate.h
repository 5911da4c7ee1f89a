#pragma once

#include <chrono>
#include <cstdint>

#include "server/clock.h"

namespace vitower {

// How fast an amount leaves, over the last seconds: the share of a whole second counts by how much of it the window of
// one second still covers. Not thread-safe.
class DrainRate final {
 public:
  void Add(int64_t amount, TimePoint now) {
    Roll(now);
    current_ += amount;
  }

  // A second; 0 where nothing has left lately.
  double PerSecond(TimePoint now) {
    Roll(now);
    const double passed = std::chrono::duration<double>(now - began_at_).count();
    return static_cast<double>(current_) + static_cast<double>(previous_) * (1 - passed);
  }

 private:
  static constexpr std::chrono::seconds kWindow{1};

  void Roll(TimePoint now) {
    if (now < began_at_ + kWindow) return;
    previous_ = now < began_at_ + 2 * kWindow ? current_ : 0;
    current_ = 0;
    began_at_ += std::chrono::floor<std::chrono::seconds>(now - began_at_);
  }

  TimePoint began_at_;  // of the present second
  int64_t current_ = 0;
  int64_t previous_ = 0;  // of the second before
};

}  // namespace vitower
