#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>

#include "server/mutex.h"

namespace vitower {

// Arrivals of a Poisson process: independent of each other and of the answers. The same for the same seed.
class PoissonArrivals final {
 public:
  PoissonArrivals(double rate, uint64_t seed) : random_(seed), gap_seconds_(rate) {}  // rate: a second, above 0

  // When the next one comes, counted from the first moment. Never falls.
  std::chrono::nanoseconds Next();

 private:
  std::mt19937_64 random_;
  std::exponential_distribution<double> gap_seconds_;
  double at_seconds_ = 0;
};

// Lets items out to a server, from `begin` until `end`. Closed loop: the next one as soon as fewer than max_in_flight
// are out. Open loop, where a rate is set: at random times that do not depend on the server; one that finds
// max_in_flight out waits, and its latency counts from when it was to go. Thread-safe; one thread calls Next.
class LoadGate final {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  struct Options {
    int64_t max_in_flight = 1;
    std::optional<double> rate{};  // items a second
    uint64_t seed = 0;
    TimePoint begin{};
    TimePoint end{};
  };

  explicit LoadGate(const Options& options) : options_(options), arrivals_(options.rate.value_or(1), options.seed) {}

  // Waits until the next item may go: the moment from which its latency counts. Nothing once the time is over.
  std::optional<TimePoint> Next();
  // An item that Next let out is answered.
  void Done();
  // Next has nothing more.
  void Stop();
  // Until every item that was let out is answered.
  void AwaitAll();

 private:
  bool WaitForRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool WaitFor(TimePoint arrival) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  PoissonArrivals arrivals_;  // of the thread that calls Next

  Mutex mu_;
  CondVar changed_;
  int64_t in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace vitower
