#pragma once

#include <chrono>
#include <utility>
#include <vector>

#include "server/clock.h"
#include "server/mutex.h"

namespace vitower {

// A clock that only moves when the test says so. Thread-safe.
class FakeClock final : public Clock {
 public:
  TimePoint Now() const override {
    MutexLock lock(mu_);
    return now_;
  }

  void WaitUntil(CondVar& cv, Mutex& mu, TimePoint deadline) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    {
      MutexLock lock(mu_);
      if (now_ >= deadline) return;
      waiters_.emplace_back(&cv, &mu);
      changed_.NotifyAll();
    }
    cv.Wait(mu);
    MutexLock lock(mu_);
    std::erase(waiters_, Waiter(&cv, &mu));
  }

  void Advance(std::chrono::nanoseconds by) {
    std::vector<Waiter> waiters;
    {
      MutexLock lock(mu_);
      now_ += by;
      waiters = waiters_;
    }
    for (const auto& [cv, mu] : waiters) {
      // Whoever registered under `mu` is waiting once it can be taken here.
      { MutexLock lock(*mu); }
      cv->NotifyAll();
    }
  }

  // Blocks until some thread waits for time to pass.
  void AwaitWaiter() {
    MutexLock lock(mu_);
    while (waiters_.empty()) changed_.Wait(mu_);
  }

 private:
  using Waiter = std::pair<CondVar*, Mutex*>;

  mutable Mutex mu_;
  CondVar changed_;
  TimePoint now_ ABSL_GUARDED_BY(mu_) = TimePoint() + std::chrono::hours(1000);
  std::vector<Waiter> waiters_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vitower
