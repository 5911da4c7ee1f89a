#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "server/batcher.h"
#include "server/mutex.h"
#include "server/pass.h"

namespace vitower {

// Which encoders work, and on which devices. All are taken to until the first news. The queue is open while any does.
// Thread-safe; calls block for `on_change` only, which hears whether any works after each change, in order.
class Devices final {
 public:
  // The device of each encoder: a GPU has more than one.
  Devices(std::vector<std::string> devices, Batcher& batcher, std::function<void(bool)> on_change);

  void Back(size_t index);
  bool AllWork();

  struct Loss {
    int64_t encoders_left = 0;
    int64_t other_devices_left = 0;  // with an encoder that works
    Jobs orphans;                    // what was queued, when the last encoder goes
  };
  Loss Lost(size_t index);

 private:
  void Tell();
  int64_t CountUp() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int64_t CountOtherDevices(size_t index) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::vector<std::string> devices_;
  Batcher& batcher_;
  const std::function<void(bool)> on_change_;
  Mutex telling_;  // taken before mu_, so that the news arrive in order
  Mutex mu_;
  std::vector<bool> up_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vitower
