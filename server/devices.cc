#include "server/devices.h"

#include <algorithm>
#include <utility>

namespace vitower {

Devices::Devices(size_t count, Batcher& batcher, std::function<void(bool)> on_change)
    : batcher_(batcher), on_change_(std::move(on_change)), up_(count, true) {}

void Devices::Back(size_t index) {
  {
    MutexLock lock(mu_);
    up_[index] = true;
    batcher_.Open();
  }
  Tell();
}

Devices::Loss Devices::Lost(size_t index) {
  Loss loss;
  {
    MutexLock lock(mu_);
    up_[index] = false;
    loss.others_left = CountUp();
    if (loss.others_left == 0) loss.orphans = batcher_.Close();
  }
  Tell();
  return loss;
}

bool Devices::AllWork() {
  MutexLock lock(mu_);
  return std::find(up_.begin(), up_.end(), false) == up_.end();
}

void Devices::Tell() {
  MutexLock telling(telling_);
  bool any = false;
  {
    MutexLock lock(mu_);
    any = CountUp() > 0;
  }
  on_change_(any);
}

int64_t Devices::CountUp() const { return std::count(up_.begin(), up_.end(), true); }

}  // namespace vitower
