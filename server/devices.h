#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "server/batcher.h"
#include "server/mutex.h"
#include "server/pass.h"

namespace vitower {

// Which devices work. All are taken to until the first news. The queue is open while any does. Thread-safe; calls block
// for `on_change` only, which hears whether any works after each change, in order.
class Devices final {
 public:
  Devices(size_t count, Batcher& batcher, std::function<void(bool)> on_change);

  void Back(size_t index);
  bool AllWork();

  struct Loss {
    int64_t others_left = 0;
    Jobs orphans;  // what was queued, when the last device goes
  };
  Loss Lost(size_t index);

 private:
  void Tell();
  int64_t CountUp() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Batcher& batcher_;
  const std::function<void(bool)> on_change_;
  Mutex telling_;  // taken before mu_, so that the news arrive in order
  Mutex mu_;
  std::vector<bool> up_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vitower
