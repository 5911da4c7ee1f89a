// private header
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <thread>

#include "server/clock.h"
#include "server/mutex.h"

namespace vitower {

// The server's waits for its clients: to take what is written to them, to send the rest of what they have begun. A wait
// that is not over within --client-stall-timeout is told of, once, so that nobody holds memory for ever by doing
// nothing. Thread-safe; blocks only in the destructor, for a callback that runs. Must outlive its waits.
class StallWatch final {
 private:
  struct Entry {
    TimePoint due;
    std::function<void()> on_stall;
    bool told = false;
  };

 public:
  // One wait, from Begin to End or its destruction. For one thread at a time.
  class Wait final {
   public:
    Wait() = default;
    ~Wait() { End(); }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

    // REQUIRES: no wait is on. `on_stall` runs on the watch's thread, without a lock, perhaps while or after the wait
    // ends: what it touches must be its own.
    void Begin(StallWatch& watch, std::function<void()> on_stall);
    // True: it was told of. Idempotent.
    bool End();

   private:
    StallWatch* watch_ = nullptr;
    std::list<Entry>::iterator entry_;
  };

  StallWatch(Clock& clock, std::chrono::nanoseconds timeout);
  ~StallWatch();

  std::chrono::nanoseconds timeout() const { return timeout_; }

 private:
  void Run();
  std::function<void()> TakeDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Clock& clock_;
  const std::chrono::nanoseconds timeout_;

  Mutex mu_;
  CondVar stop_changed_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::list<Entry> waiting_ ABSL_GUARDED_BY(mu_);  // in order of `due`, since all wait equally long
  std::list<Entry> told_ ABSL_GUARDED_BY(mu_);     // until they end

  std::thread thread_;
};

}  // namespace vitower
