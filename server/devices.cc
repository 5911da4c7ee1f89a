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
    loss.others_left = AnyUp();
    if (!loss.others_left) loss.orphans = batcher_.Close();
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
    any = AnyUp();
  }
  on_change_(any);
}

bool Devices::AnyUp() const { return std::find(up_.begin(), up_.end(), true) != up_.end(); }

}  // namespace vitower
