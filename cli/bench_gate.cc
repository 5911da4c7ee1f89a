#include "cli/bench_gate.h"

#include <algorithm>

namespace vitower {

std::chrono::nanoseconds PoissonArrivals::Next() {
  at_seconds_ += gap_seconds_(random_);
  return std::chrono::nanoseconds(static_cast<int64_t>(at_seconds_ * 1e9));
}

std::optional<LoadGate::TimePoint> LoadGate::Next() {
  const TimePoint arrival = options_.rate ? options_.begin + arrivals_.Next() : options_.begin;
  MutexLock lock(mu_);
  if (arrival >= options_.end || !WaitFor(arrival) || !WaitForRoom()) return std::nullopt;
  const TimePoint now = std::chrono::steady_clock::now();
  if (now >= options_.end) return std::nullopt;
  ++in_flight_;
  return options_.rate ? arrival : now;
}

bool LoadGate::WaitForRoom() {
  while (!stopped_ && in_flight_ >= options_.max_in_flight) changed_.Wait(mu_);
  return !stopped_;
}

bool LoadGate::WaitFor(TimePoint arrival) {
  while (!stopped_ && std::chrono::steady_clock::now() < arrival) changed_.WaitUntil(mu_, arrival);
  return !stopped_;
}

void LoadGate::Done() {
  MutexLock lock(mu_);
  --in_flight_;
  changed_.NotifyAll();
}

void LoadGate::Stop() {
  MutexLock lock(mu_);
  stopped_ = true;
  changed_.NotifyAll();
}

void LoadGate::AwaitAll() {
  MutexLock lock(mu_);
  while (in_flight_ > 0) changed_.Wait(mu_);
}

}  // namespace vitower
