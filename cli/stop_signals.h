#pragma once

#include <functional>
#include <thread>

#include "server/mutex.h"

namespace vitower {

// SIGTERM and SIGINT as a wish to stop. Make it before any other thread starts: it blocks both signals for the calling
// thread and for every thread made from it, and waits for them on a thread of its own.
// The first signal runs the handler, on another thread; where no handler is set yet, the process ends with code 0.
// A second signal ends the process at once with code 1. Thread-safe. The destructor waits for a handler that runs.
class StopSignals final {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // `handler` runs at most once and may block.
  void OnFirst(std::function<void()> handler);

 private:
  void Wait();
  void TakeFirst();

  Mutex mu_;
  std::function<void()> handler_ ABSL_GUARDED_BY(mu_);

  std::jthread handling_;  // started by waiting_ alone
  std::jthread waiting_;   // last: joined before the rest goes
};

}  // namespace vitower
