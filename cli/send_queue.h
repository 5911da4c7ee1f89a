#pragma once

#include <chrono>
#include <map>
#include <optional>

#include "server/mutex.h"

namespace vitower {

// What to send next of `count` items: each once in their order, and those the server had no room for again after a
// while. At most `window` are begun and not finished, so that a full server is not sent everything to refuse it.
// Thread-safe; any number of senders.
class SendQueue final {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  SendQueue(size_t count, size_t window);

  // Waits until there is one to send. Nothing once all are finished or Stop was called.
  std::optional<size_t> Next();

  // An item that was sent is done. REQUIRES: it was handed out by Next and not given back since.
  void Finished();
  // It is to be sent again, then or later. REQUIRES: as for Finished.
  void Again(size_t index, TimePoint when);
  // Next has nothing more.
  void Stop();

 private:
  // The next one to go and when it is due, if any.
  std::optional<TimePoint> DueAt() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t Take() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t count_;
  const size_t window_;

  Mutex mu_;
  CondVar changed_;
  size_t begun_ ABSL_GUARDED_BY(mu_) = 0;
  size_t finished_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::multimap<TimePoint, size_t> again_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vitower
