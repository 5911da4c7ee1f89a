#pragma once

#include <chrono>

#include "server/mutex.h"

namespace vitower {

using TimePoint = std::chrono::steady_clock::time_point;

// Time, and waiting for it: what a test replaces by a clock that it moves by hand. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  virtual TimePoint Now() const = 0;

  // Waits until `cv` is notified or Now() has reached `deadline`; may wake earlier for no reason.
  virtual void WaitUntil(CondVar& cv, Mutex& mu, TimePoint deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) = 0;
};

// std::chrono::steady_clock.
class SteadyClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  void WaitUntil(CondVar& cv, Mutex& mu, TimePoint deadline) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    cv.WaitUntil(mu, deadline);
  }
};

}  // namespace vitower
